// SPDX-License-Identifier: Apache-2.0 OR MIT
// The smaller verbs on the CPU: append (cache.cpp), pages copied and cleared (pages.cpp), partial
// results merged (merge.cpp). Portable code: they move memory, which the baseline does as fast as
// any.
#pragma once
#include "backend/backend.h"
#include "jobs.h"
#include "status.h"

namespace rapt::cpu {

Status append(const AppendJob& job, const Target& target);
Status move_pages(const PageJob& job, const Target& target);
Status merge(const MergeJob& job, const Target& target);

}  // namespace rapt::cpu
