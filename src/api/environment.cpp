// SPDX-License-Identifier: Apache-2.0 OR MIT
// RAPT_BACKEND, whose name is checked with those that calls give, and RAPT_CHECK.
#include "api/environment.h"

#include <cstdlib>
#include <string_view>

#include "api/say.h"

namespace rapt {
namespace {

const char* value_of(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

Environment read_environment() {
  Environment environment;
  environment.backend = value_of("RAPT_BACKEND");
  const std::string_view check = value_of("RAPT_CHECK");
  environment.check = check == "1";
  if (!check.empty() && check != "0" && check != "1") {
    environment.status = invalid(say("RAPT_CHECK: is \"", check, "\"; must be 0 or 1"));
  }
  return environment;
}

}  // namespace

const Environment& environment() {
  // Never destroyed: static destructors may still call.
  static const Environment& once = *new Environment(read_environment());
  return once;
}

}  // namespace rapt
