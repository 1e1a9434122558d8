// SPDX-License-Identifier: Apache-2.0 OR MIT
// A map from kernel keys to values that only grows. Readers take no lock and write no shared
// memory; values never move, so a pointer found once stays good.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "backend/cuda/kernel_key.h"

namespace rapt::cuda {

template <typename Value>
class KernelMap {
 public:
  KernelMap() { grow(); }

  // Null where the key is unknown.
  [[nodiscard]] const Value* find(const KernelKey& key) const {
    const Table* table = table_.load(std::memory_order_acquire);
    for (std::size_t i = key.hash();; ++i) {
      const Node* node = table->slots[i & table->mask].load(std::memory_order_acquire);
      if (node == nullptr) return nullptr;
      if (node->key == key) return &node->value;
    }
  }

  // The value now stored under the key: the given one, or an earlier one.
  const Value* insert(const KernelKey& key, Value value) {
    const std::scoped_lock lock(mutex_);
    if (const Value* known = find(key); known != nullptr) return known;
    if (2 * (nodes_.size() + 1) > tables_.back()->mask + 1) grow();
    nodes_.push_back(std::make_unique<Node>(Node{key, std::move(value)}));
    place(*tables_.back(), nodes_.back().get());
    return &nodes_.back()->value;
  }

 private:
  struct Node {
    KernelKey key;
    Value value;
  };
  struct Table {
    explicit Table(std::size_t size)
        : mask(size - 1), slots(new std::atomic<const Node*>[size]()) {}
    std::size_t mask;
    std::unique_ptr<std::atomic<const Node*>[]> slots;
  };

  static void place(const Table& table, const Node* node) {
    std::size_t i = node->key.hash();
    while (table.slots[i & table.mask].load(std::memory_order_relaxed) != nullptr) ++i;
    table.slots[i & table.mask].store(node, std::memory_order_release);
  }

  // Old tables stay for readers that are still in them; together they are no larger than the new
  // one.
  void grow() {
    const std::size_t size = tables_.empty() ? 64 : 2 * (tables_.back()->mask + 1);
    auto table = std::make_unique<Table>(size);
    for (const auto& node : nodes_) place(*table, node.get());
    table_.store(table.get(), std::memory_order_release);
    tables_.push_back(std::move(table));
  }

  std::atomic<const Table*> table_ = nullptr;
  std::mutex mutex_;  // of writers
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<std::unique_ptr<Table>> tables_;
};

}  // namespace rapt::cuda
