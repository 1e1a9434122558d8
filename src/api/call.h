// SPDX-License-Identifier: Apache-2.0 OR MIT
// A caller's attention problem with every group copied to this library's sizes, so that the checks
// need not know how old the caller is. Group pointers of `problem` point into the Call itself.
#pragma once
#include "api/validate_tensors.h"
#include "rapt/rapt.h"
#include "status.h"

namespace rapt {

struct Call {
  rapt_attention problem = {};
  rapt_mask mask = {};
  rapt_softcap softcap = {};
  rapt_alibi alibi = {};
  rapt_bias bias = {};
  rapt_sinks sinks = {};
  rapt_dropout dropout = {};
  rapt_descale descale = {};
  rapt_ragged ragged = {};
  rapt_pages pages = {};
  rapt_lengths lengths = {};
  rapt_positions positions = {};

  Call() = default;
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
};

Status read_call(const char* name, const rapt_attention* from, Call* call);

// Every tensor that attention reads, given or not, q first.
FieldList inputs(const rapt_attention& problem);

}  // namespace rapt
