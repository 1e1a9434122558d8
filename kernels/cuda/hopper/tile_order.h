// SPDX-License-Identifier: Apache-2.0 OR MIT
// The order in which persistent CTAs take tiles of query rows. Pure arithmetic, read by the host's
// compiler and by NVRTC.
#pragma once

namespace rapt::kernels {

// A stream is one (batch, kv head, split, value chunk): its tiles share keys. Streams go
// `together` at a time, and among those the last tiles go first: under a causal mask they see the
// most keys. The last group has what is left of the streams too.
struct TileOrder {
  int tiles;  // of a stream
  int streams;
  int together;
  // 1: a group's tiles are dealt out two to a CTA, the longest with the shortest, before the next
  // group's. A group has twice as many tiles as there are CTAs, or few less.
  int pairs;

  struct Place {
    int stream;
    int tile;
  };

  constexpr int count() const { return tiles * streams; }
  constexpr int groups() const { return streams < 2 * together ? 1 : streams / together; }

  constexpr Place at(int index) const {
    const int of_group = together * tiles, last = groups() - 1;
    const int group = index / of_group < last ? index / of_group : last;
    const int first = group * together, rest = index - group * of_group;
    const int members = group < last ? together : streams - first;
    const int level = rest / members;
    return {first + rest - level * members, tiles - 1 - level};
  }

  // How many tiles a CTA is asked to take at most.
  constexpr int rounds(int ctas) const {
    const int dealt = pairs != 0 ? groups() - 1 : 0;
    return 2 * dealt + (count() - dealt * together * tiles + ctas - 1) / ctas;
  }

  // The index of a CTA's tile of round n; -1 where it has none. Rounds go to and fro, so that who
  // got the longest of one gets the shortest of the next.
  constexpr int index_of(int n, int cta, int ctas) const {
    const int of_group = together * tiles, dealt = pairs != 0 ? groups() - 1 : 0;
    const int group = n / 2 < dealt ? n / 2 : dealt, round = n - 2 * group;
    // Of each group other CTAs are those for whom the second tile is missing.
    const int turned = (cta + group * (2 * ctas - of_group)) % ctas;
    const int begin = group * of_group, forth = round * ctas + turned;
    const int back = round * ctas + ctas - 1 - turned;
    if (group < dealt) {
      const int place = round == 0 ? turned : of_group - 1 - turned;
      return place < round * ctas ? -1 : begin + place;
    }
    const int index = begin + (round % 2 == 0 ? forth : back);
    return index < count() ? index : -1;
  }
};

}  // namespace rapt::kernels
