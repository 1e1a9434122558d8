// SPDX-License-Identifier: Apache-2.0 OR MIT
// Random legal problems, and the account of which features, and pairs of them, the problems had.
#pragma once
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "kit/case.h"
#include "kit/random.h"

namespace rapt::kit {

// One bit a feature, in the order of feature_names().
using Features = std::bitset<64>;

const std::vector<std::string>& feature_names();
Features features_of(const Case& c);
// May one problem have both? (Two page layouts may not, nor ragged keys and left padding.)
bool legal_pair(std::size_t a, std::size_t b);

class Coverage {
 public:
  Coverage();
  void add(const Case& c);

  [[nodiscard]] std::int64_t problems() const { return problems_; }
  [[nodiscard]] std::int64_t count(std::size_t a, std::size_t b) const { return pairs_[a][b]; }
  [[nodiscard]] std::int64_t count(const std::string& feature) const;
  // Problems over all: kv_len above three key blocks of 128, head_dim above 128.
  [[nodiscard]] double long_share() const;
  [[nodiscard]] double wide_share() const;

 private:
  std::vector<std::vector<std::int64_t>>
      pairs_;  // [feature][feature]; the diagonal counts features
  std::int64_t problems_ = 0;
};

class Generator {
 public:
  // Of `direction` backward: problems that have a gradient, so no paged caches.
  explicit Generator(std::uint64_t seed, const std::string& direction = "forward")
      : random_(seed, 7), direction_(direction) {}

  // The one of a few random problems that has the most of the pairs that were rare so far.
  Case next(const Coverage& coverage);

 private:
  Case draw();

  Random random_;
  std::string direction_;
};

}  // namespace rapt::kit
