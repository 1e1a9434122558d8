// SPDX-License-Identifier: Apache-2.0 OR MIT
// The order in which persistent CTAs take tiles of query rows. Pure arithmetic, read by the host's
// compiler and by NVRTC.
#pragma once

namespace rapt::kernels {

// A stream is one (batch, kv head, split, value chunk): its tiles share keys. Streams go
// `together` at a time, as many as the L2 holds, and among those the last tiles go first: under a
// causal mask they see the most keys.
struct TileOrder {
  int tiles;  // of a stream
  int streams;
  int together;

  struct Place {
    int stream;
    int tile;
  };

  constexpr Place at(int index) const {
    const int of_group = together * tiles, group = index / of_group;
    const int first = group * together, rest = index - group * of_group;
    const int members = first + together < streams ? together : streams - first;
    const int level = rest / members;
    return {first + rest - level * members, tiles - 1 - level};
  }

  constexpr int count() const { return tiles * streams; }

  // The n-th tile of CTA `cta` of `ctas`; count() or more where it has none left. To and fro, so
  // that who got the longest of one round gets the shortest of the next.
  static constexpr int index_of(int n, int cta, int ctas) {
    return n * ctas + (n % 2 == 0 ? cta : ctas - 1 - cta);
  }
};

}  // namespace rapt::kernels
