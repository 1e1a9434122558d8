// SPDX-License-Identifier: Apache-2.0 OR MIT
// Packs and checks cache entries. The checksum makes fsync needless: what a crash left half written
// is seen and compiled again.
#include "backend/cuda/cache_entry.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

#include "backend/cuda/sha256.h"

namespace rapt::cuda {
namespace {

constexpr std::array<char, 8> kMagic = {'R', 'A', 'P', 'T', 'C', 'U', 'B', '1'};

struct Header {
  std::array<char, 8> magic = kMagic;
  std::array<char, 64> digest{};    // of what the cubin was made from
  std::array<char, 16> compiler{};  // "13.0.88", zeros behind it
  std::uint64_t code_bytes = 0;
  std::uint64_t log_bytes = 0;
  Sha256::Digest checksum{};  // of everything above and all bytes behind the header
};
static_assert(sizeof(Header) == 136);

Sha256::Digest checksum(const Header& header, std::span<const std::byte> body) {
  Sha256 hash;
  hash.add(std::as_bytes(std::span(&header, 1)).first(offsetof(Header, checksum)));
  hash.add(body);
  return hash.finish();
}

template <std::size_t N>
void set_text(std::array<char, N>& field, const std::string& text) {
  std::memcpy(field.data(), text.data(), std::min(N, text.size()));
}

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

std::string check(const Header& header, std::span<const std::byte> body,
                  const std::string& digest) {
  if (header.magic != kMagic) return "it is no entry of this cache";
  if (std::string(header.digest.begin(), header.digest.end()) != digest) {
    return "it belongs to another kernel";
  }
  if (header.code_bytes > body.size() || header.log_bytes != body.size() - header.code_bytes) {
    return "it is cut short";
  }
  return header.checksum == checksum(header, body) ? "" : "it is damaged";
}

}  // namespace

std::vector<std::byte> pack_entry(const std::string& digest, const Cubin& cubin) {
  Header header;
  set_text(header.digest, digest);
  set_text(header.compiler, cubin.compiler);
  header.code_bytes = cubin.code.size();
  header.log_bytes = cubin.log.size();
  std::vector<std::byte> body = cubin.code;
  const auto log = bytes_of(cubin.log);
  body.insert(body.end(), log.begin(), log.end());
  header.checksum = checksum(header, body);
  const auto head = std::as_bytes(std::span(&header, 1));
  body.insert(body.begin(), head.begin(), head.end());
  return body;
}

std::string unpack_entry(std::span<const std::byte> bytes, const std::string& digest,
                         Cubin& cubin) {
  Header header;
  if (bytes.size() < sizeof header) return "it is cut short";
  std::memcpy(&header, bytes.data(), sizeof header);
  const std::span<const std::byte> body = bytes.subspan(sizeof header);
  if (std::string why = check(header, body, digest); !why.empty()) return why;
  const auto code = body.first(header.code_bytes);
  const auto log = body.subspan(header.code_bytes);
  cubin.code.assign(code.begin(), code.end());
  cubin.log.assign(reinterpret_cast<const char*>(log.data()), log.size());
  cubin.resources = parse_resources(cubin.log);
  cubin.compiler.assign(header.compiler.data(),
                        strnlen(header.compiler.data(), header.compiler.size()));
  cubin.compile_ms = 0.0;
  cubin.not_kept.clear();
  return "";
}

}  // namespace rapt::cuda
