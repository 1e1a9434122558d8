// SPDX-License-Identifier: Apache-2.0 OR MIT
// Lists the devices of all backends into a caller's array, whose entries may be older or younger.
#include <algorithm>
#include <cstring>
#include <vector>

#include "api/say.h"
#include "api/sized.h"
#include "api/verbs.h"
#include "backend/backend.h"

namespace rapt {

Status devices(rapt_device_info* infos, std::size_t capacity, std::size_t* count) {
  if (count == nullptr) return invalid("count: is null");
  std::vector<rapt_device_info> found;
  for (const Backend* backend : backends()) backend->devices(found);
  const std::size_t wanted = infos == nullptr ? 0 : std::min(capacity, found.size());
  if (wanted > 0) {
    rapt_device_info first = {};
    RAPT_RETURN_IF_ERROR(read_sized("devices[0]", infos, &first));
  }
  // A caller's entries are as large as the first says, which need not be our size.
  const std::size_t size = wanted > 0 ? infos->struct_size : 0;
  auto* bytes = reinterpret_cast<unsigned char*>(infos);
  for (std::size_t i = 0; i < wanted; ++i) {
    found[i].struct_size = size;
    std::memcpy(bytes + i * size, &found[i], std::min(size, sizeof found[i]));
  }
  *count = found.size();
  return {};
}

}  // namespace rapt
