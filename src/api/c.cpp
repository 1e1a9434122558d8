// SPDX-License-Identifier: Apache-2.0 OR MIT
// The C edge: nothing is thrown across it, and the sentence of the last refusal is kept for each
// thread.
#include <cstring>
#include <new>
#include <stdexcept>
#include <string_view>

#include "api/verbs.h"
#include "rapt/rapt.h"

namespace rapt {
namespace {

// A plain buffer, so that keeping a sentence can never fail; a longer one is cut.
constexpr std::size_t kMostSentence = 4096;
thread_local char last_sentence[kMostSentence] = "";

rapt_status keep(rapt_status code, std::string_view sentence) noexcept {
  const std::size_t size = sentence.copy(last_sentence, kMostSentence - 1);
  last_sentence[size] = '\0';
  return code;
}

// Runs a verb and turns its answer, or what it throws, into a code and this thread's sentence.
template <typename Verb>
rapt_status answer(Verb verb) noexcept {
  try {
    const Status status = verb();
    return status.ok() ? RAPT_OK : keep(status.code(), status.sentence());
  } catch (const std::bad_alloc&) {
    return keep(RAPT_OUT_OF_MEMORY, "memory: the host has too little for this call");
  } catch (const std::length_error&) {
    return keep(RAPT_OUT_OF_MEMORY, "memory: the host has too little for this call");
  } catch (const std::exception& e) {
    return keep(RAPT_INTERNAL, e.what());
  } catch (...) {
    return keep(RAPT_INTERNAL, "internal: an unknown exception");
  }
}

Status copy_text(const std::string& from, char* text, std::size_t capacity, std::size_t* needed) {
  const std::size_t size = from.size() + 1;
  if (needed != nullptr) *needed = size;
  if (text == nullptr && capacity > 0) return invalid("text: is null");
  if (capacity < size) {
    return invalid("capacity: is " + std::to_string(capacity) + ", the answer needs " +
                   std::to_string(size));
  }
  std::memcpy(text, from.c_str(), size);
  return {};
}

}  // namespace
}  // namespace rapt

extern "C" {

const char* rapt_error_message(void) { return rapt::last_sentence; }

rapt_status rapt_attend(const rapt_attention* problem, const rapt_options* options) {
  return rapt::answer([&] { return rapt::attend(problem, options); });
}

rapt_status rapt_attend_backward(const rapt_gradient* gradient, const rapt_options* options) {
  return rapt::answer([&] { return rapt::attend_backward(gradient, options); });
}

rapt_status rapt_plan_create(const rapt_attention* problem, const rapt_bounds* bounds,
                             const rapt_options* options, rapt_plan** plan) {
  return rapt::answer([&] { return rapt::plan_create(problem, bounds, options, plan); });
}

void rapt_plan_free(rapt_plan* plan) { rapt::plan_free(plan); }

std::size_t rapt_plan_workspace_bytes(const rapt_plan* plan) {
  return rapt::plan_workspace_bytes(plan);
}

const char* rapt_plan_kernel(const rapt_plan* plan) { return rapt::plan_kernel(plan); }

rapt_status rapt_upload(rapt_plan* plan, const rapt_step* step, void* workspace,
                        std::size_t workspace_bytes, const rapt_options* options) {
  return rapt::answer(
      [&] { return rapt::upload(plan, step, workspace, workspace_bytes, options); });
}

rapt_status rapt_run(const rapt_plan* plan, const rapt_attention* problem, void* workspace,
                     std::size_t workspace_bytes, const rapt_options* options) {
  return rapt::answer(
      [&] { return rapt::run(plan, problem, workspace, workspace_bytes, options); });
}

rapt_status rapt_prepare(const rapt_attention* problem, const rapt_options* options) {
  return rapt::answer([&] { return rapt::prepare(problem, options); });
}

rapt_status rapt_compile(const rapt_compile_args* args) {
  return rapt::answer([&] { return rapt::compile(args); });
}

rapt_status rapt_append(const rapt_append_args* args, const rapt_options* options) {
  return rapt::answer([&] { return rapt::append(args, options); });
}

rapt_status rapt_copy_pages(const rapt_tensor* cache, const rapt_tensor* pairs,
                            const rapt_options* options) {
  return rapt::answer([&] { return rapt::copy_pages(cache, pairs, options); });
}

rapt_status rapt_swap_pages(const rapt_tensor* from, const rapt_tensor* to,
                            const rapt_tensor* pairs, const rapt_options* options) {
  return rapt::answer([&] { return rapt::swap_pages(from, to, pairs, options); });
}

rapt_status rapt_clear_pages(const rapt_tensor* cache, const rapt_tensor* pages,
                             const rapt_options* options) {
  return rapt::answer([&] { return rapt::clear_pages(cache, pages, options); });
}

rapt_status rapt_merge(const rapt_merge_args* args, const rapt_options* options) {
  return rapt::answer([&] { return rapt::merge(args, options); });
}

rapt_status rapt_explain(const rapt_attention* problem, const rapt_options* options, char* text,
                         std::size_t capacity, std::size_t* needed) {
  return rapt::answer([&] {
    std::string json;
    RAPT_RETURN_IF_ERROR(rapt::explain(problem, options, &json));
    return rapt::copy_text(json, text, capacity, needed);
  });
}

rapt_status rapt_explain_backward(const rapt_gradient* gradient, const rapt_options* options,
                                  char* text, std::size_t capacity, std::size_t* needed) {
  return rapt::answer([&] {
    std::string json;
    RAPT_RETURN_IF_ERROR(rapt::explain_backward(gradient, options, &json));
    return rapt::copy_text(json, text, capacity, needed);
  });
}

rapt_status rapt_devices(rapt_device_info* devices, std::size_t capacity, std::size_t* count) {
  return rapt::answer([&] { return rapt::devices(devices, capacity, count); });
}

}  // extern "C"
