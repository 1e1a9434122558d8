// SPDX-License-Identifier: Apache-2.0 OR MIT
// RAPT_CHECK: the values that only a device can see, cu_seqlens, used lengths, page ids, slots and
// positions, are read back and go through the very checks of those in host memory, so that both
// refuse in the same words. Nothing to do unless it is 1 and they are on a device.
#pragma once
#include <vector>

#include "backend/backend.h"
#include "jobs.h"
#include "problem.h"
#include "status.h"

namespace rapt {

// Waits for the target's stream. `sequences` are filled where there was something to do.
Status check_on_device(const Problem& problem, const Backend& backend, const Target& target,
                       std::vector<Sequence>* sequences);
Status check_on_device(const AppendJob& job, const Backend& backend, const Target& target);
// `check` is the one of the verb.
Status check_on_device(const PageJob& job, Status (*check)(const PageJob&), const Backend& backend,
                       const Target& target);

}  // namespace rapt
