// SPDX-License-Identifier: Apache-2.0 OR MIT
// Asks the driver and the compiler, and remembers what they said.
#include "backend/cuda/machine.h"

#include <cstddef>

namespace rapt::cuda {

Machine::Machine(const Driver& driver, const Compiler& compiler)
    : driver_(driver),
      compiler_(compiler),
      answers_(std::make_unique<Answer[]>(driver.devices().size())) {}

const Machine& Machine::system() {
  // Never destroyed: static destructors may still call.
  static const Machine& machine = *new Machine(Driver::system(), Compiler::system());
  return machine;
}

Refusal Machine::refusal(int ordinal, const char* field) const {
  if (!driver_.status().ok()) return Refusal::because(driver_.status().sentence().c_str());
  const std::size_t count = driver_.devices().size();
  if (ordinal < 0 || static_cast<std::size_t>(ordinal) >= count) {
    return Refusal::because(field, ": is on CUDA device ", ordinal, ", this machine has ", count);
  }
  const std::string& why = means(ordinal).refusal;
  return why.empty() ? Refusal() : Refusal::because(why.c_str());
}

const Means& Machine::means(int ordinal) const {
  const auto index = static_cast<std::size_t>(ordinal);
  Answer& answer = answers_[index];
  std::call_once(answer.once,
                 [&] { answer.means = compiler_.means(driver_.devices()[index].arch); });
  return answer.means;
}

}  // namespace rapt::cuda
