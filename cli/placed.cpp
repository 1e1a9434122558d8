// SPDX-License-Identifier: Apache-2.0 OR MIT
// Host tensors are computed on where they lie; a device gets copies.
#include "cli/placed.h"

#include "cli/commands.h"
#include "cli/failure.h"

namespace rapt::cli {

Placed::Placed(const FileProblem& problem, const rapt_options& options, Part part)
    : host_(&problem.attention()), options_(options), place_(kit::place_of(options)) {
  if (problem.gradient() != nullptr) gradient_ = *problem.gradient();
  if (place_ == kit::Place::host) return;
  kit::Storage storage;
  if (part == Part::tensors) {
    const std::string absent = kit::why_absent(place_);
    if (!absent.empty()) throw Failure(kUnsupported, absent);
    storage = gradient_ ? kit::storage_of(*gradient_) : kit::storage_of(*host_);
  }
  device_.emplace(*host_, storage, place_);
  if (gradient_) gradient_ = device_->moved(*gradient_);
}

void Placed::attend() const {
  require_ok(rapt_attend(&attention(), &options_));
  kit::memory_at(place_).synchronize();
}

void Placed::attend_backward() const {
  require_ok(rapt_attend_backward(gradient(), &options_));
  kit::memory_at(place_).synchronize();
}

void Placed::download() {
  if (device_) device_->download();
}

std::string prepare(const FileProblem& problem, const rapt_options& options) {
  const Placed shapes(problem, options, Part::shapes);
  require_ok(rapt_prepare(&shapes.attention(), &options));
  return shapes.gradient() != nullptr ? explain(*shapes.gradient(), options).chosen
                                      : explain(shapes.attention(), options).chosen;
}

}  // namespace rapt::cli
