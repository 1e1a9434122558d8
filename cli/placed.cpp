// SPDX-License-Identifier: Apache-2.0 OR MIT
// Host tensors are computed on where they lie; a device gets copies.
#include "cli/placed.h"

#include "cli/failure.h"

namespace rapt::cli {

Placed::Placed(const rapt_attention& host, const rapt_options& options, Part part)
    : host_(&host), options_(options), place_(kit::place_of(options)) {
  if (place_ == kit::Place::host) return;
  const bool tensors = part == Part::tensors;
  const std::string absent = tensors ? kit::why_absent(place_) : "";
  if (!absent.empty()) throw Failure(kUnsupported, absent);
  device_.emplace(host, tensors ? kit::storage_of(host) : kit::Storage{}, place_);
}

void Placed::attend() const {
  require_ok(rapt_attend(&attention(), &options_));
  kit::memory_at(place_).synchronize();
}

void Placed::download() {
  if (device_) device_->download();
}

}  // namespace rapt::cli
