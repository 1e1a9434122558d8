// SPDX-License-Identifier: Apache-2.0 OR MIT
// Reads a caller's attention problem and lists its tensors.
#include "api/call.h"

#include "api/sized.h"

namespace rapt {

Status read_call(const char* name, const rapt_attention* from, Call* call) {
  rapt_attention& p = call->problem;
  RAPT_RETURN_IF_ERROR(read_sized(name, from, &p));
  RAPT_RETURN_IF_ERROR(read_group("mask", &p.mask, &call->mask));
  RAPT_RETURN_IF_ERROR(read_group("softcap", &p.softcap, &call->softcap));
  RAPT_RETURN_IF_ERROR(read_group("alibi", &p.alibi, &call->alibi));
  RAPT_RETURN_IF_ERROR(read_group("bias", &p.bias, &call->bias));
  RAPT_RETURN_IF_ERROR(read_group("sinks", &p.sinks, &call->sinks));
  RAPT_RETURN_IF_ERROR(read_group("dropout", &p.dropout, &call->dropout));
  RAPT_RETURN_IF_ERROR(read_group("descale", &p.descale, &call->descale));
  RAPT_RETURN_IF_ERROR(read_group("ragged", &p.ragged, &call->ragged));
  RAPT_RETURN_IF_ERROR(read_group("pages", &p.pages, &call->pages));
  RAPT_RETURN_IF_ERROR(read_group("lengths", &p.lengths, &call->lengths));
  return read_group("positions", &p.positions, &call->positions);
}

FieldList inputs(const rapt_attention& p) {
  FieldList list;
  list.add("q", p.q);
  list.add("k", p.k);
  list.add("v", p.v);
  if (p.alibi != nullptr) list.add("alibi.slopes", p.alibi->slopes);
  if (p.bias != nullptr) list.add({"bias.bias", &p.bias->bias, -1, true});
  if (p.sinks != nullptr) list.add("sinks.sinks", p.sinks->sinks);
  if (p.descale != nullptr) {
    list.add("descale.q", p.descale->q);
    list.add("descale.k", p.descale->k);
    list.add("descale.v", p.descale->v);
  }
  if (p.ragged != nullptr) {
    list.add("ragged.q_offsets", p.ragged->q_offsets);
    list.add("ragged.kv_offsets", p.ragged->kv_offsets);
  }
  if (p.pages != nullptr) list.add("pages.table", p.pages->table);
  if (p.lengths != nullptr) {
    list.add("lengths.q_len", p.lengths->q_len);
    list.add("lengths.kv_len", p.lengths->kv_len);
    list.add("lengths.cache_row", p.lengths->cache_row);
    list.add("lengths.left_pad", p.lengths->left_pad);
  }
  if (p.positions != nullptr) {
    list.add("positions.q_start", p.positions->q_start);
    list.add("positions.kv_start", p.positions->kv_start);
  }
  return list;
}

}  // namespace rapt
