// SPDX-License-Identifier: Apache-2.0 OR MIT
// What a captured stream was given to do, for the driver that stands in.
#pragma once
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "backend/cuda/driver_api.h"

namespace rapt::stand_in {

// CUgraphNodeType
enum class NodeType : int { kernel = 0, copy = 1, fill = 2, allocation = 10, release = 11 };

class Graph {
 public:
  using Work = std::function<cuda::CUresult()>;

  void add(NodeType type, Work work) { nodes_.push_back({type, std::move(work)}); }
  // Memory that lives as long as the graph.
  void* keep(std::size_t bytes) {
    constexpr std::size_t kAlignment = 256;
    void* memory = std::aligned_alloc(kAlignment, (bytes / kAlignment + 1) * kAlignment);
    memory_.emplace_back(memory, &std::free);
    return memory;
  }

  [[nodiscard]] cuda::CUresult run() const {
    for (const Node& node : nodes_) {
      const cuda::CUresult result = node.work();
      if (result != cuda::kSuccess) return result;
    }
    return cuda::kSuccess;
  }
  [[nodiscard]] std::size_t size() const { return nodes_.size(); }
  // A node's handle points at its type.
  [[nodiscard]] const NodeType* node(std::size_t i) const { return &nodes_[i].type; }

 private:
  struct Node {
    NodeType type;
    Work work;
  };
  std::vector<Node> nodes_;
  std::vector<std::unique_ptr<void, decltype(&std::free)>> memory_;
};

// A stream, with what it has captured since a capture began.
struct Stream {
  std::shared_ptr<Graph> captured;
};

// Copies of a launch's parameters, whose sizes end with a 0.
inline std::vector<void*> kept_parameters(Graph& graph, void** parameters,
                                          const std::size_t* sizes) {
  std::vector<void*> kept;
  for (; *sizes != 0; ++sizes, ++parameters) {
    kept.push_back(std::memcpy(graph.keep(*sizes), *parameters, *sizes));
  }
  return kept;
}

}  // namespace rapt::stand_in
