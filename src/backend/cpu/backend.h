// SPDX-License-Identifier: Apache-2.0 OR MIT
// The CPU backend.
#pragma once
#include "backend/backend.h"

namespace rapt::cpu {

Backend& backend();

}  // namespace rapt::cpu
