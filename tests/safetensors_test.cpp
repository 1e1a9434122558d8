// SPDX-License-Identifier: Apache-2.0 OR MIT
// The safetensors reader against files that lie, and what the writer writes.
#include "cli/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>

namespace rapt::cli {
namespace {

std::vector<std::byte> bytes_of(const std::string& text) {
  std::vector<std::byte> bytes(text.size());
  std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

std::string length_prefix(std::uint64_t length) {
  std::string prefix(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) prefix[i] = static_cast<char>(length >> (8 * i));
  return prefix;
}

// A file of this header and so many bytes of data.
std::vector<std::byte> file_of(const std::string& header, std::size_t data) {
  return bytes_of(length_prefix(header.size()) + header + std::string(data, '\1'));
}

std::string error_of(const std::string& header, std::size_t data) {
  const auto bytes = file_of(header, data);
  return read_safetensors(bytes).error;
}

std::string tensor(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

TEST(Safetensors, ReadsTensorsInTheOrderOfTheirBytes) {
  const std::string header = R"({"b":)" + tensor("F32", "[1,2]", "[4,12]") + R"(,"a":)" +
                             tensor("BF16", "[2]", "[0,4]") +
                             R"(,"__metadata__":{"made":"by hand"}} )";
  const auto bytes = file_of(header, 12);
  const Safetensors file = read_safetensors(bytes);
  ASSERT_EQ(file.error, "");
  ASSERT_EQ(file.tensors.size(), 2U);
  EXPECT_EQ(file.tensors[0].name, "a");
  EXPECT_EQ(file.find("b")->dtype, RAPT_FP32);
  EXPECT_EQ(file.find("b")->shape, (std::vector<std::int64_t>{1, 2}));
  EXPECT_EQ(file.find("b")->data.data(), bytes.data() + 8 + header.size() + 4);
  EXPECT_EQ(file.find("c"), nullptr);
  EXPECT_EQ(file.metadata.at("made"), "by hand");
}

TEST(Safetensors, ReadsWhatItWrites) {
  const auto data = bytes_of("12345678");
  NamedTensor x{"x", "", RAPT_FP16, {2, 1}, std::span(data).first(4)};
  NamedTensor y{"y", "", RAPT_INT32, {}, std::span(data).last(4)};
  const std::string header = safetensors_header({x, y}, {{"key", "\"value\""}});
  EXPECT_EQ(header.size() % 8, 0U);
  const auto bytes = bytes_of(header + "12345678");
  const Safetensors file = read_safetensors(bytes);
  ASSERT_EQ(file.error, "");
  EXPECT_EQ(file.find("x")->dtype_name, "F16");
  EXPECT_EQ(std::memcmp(file.find("y")->data.data(), "5678", 4), 0);
  EXPECT_EQ(file.metadata.at("key"), "\"value\"");
}

TEST(Safetensors, KnowsDtypesThatRaptLacks) {
  const auto bytes = file_of(R"({"x":)" + tensor("F64", "[1]", "[0,8]") + "}", 8);
  const Safetensors file = read_safetensors(bytes);
  ASSERT_EQ(file.error, "");
  EXPECT_EQ(file.tensors[0].dtype, RAPT_NONE);
  EXPECT_EQ(file.tensors[0].dtype_name, "F64");
}

TEST(Safetensors, AcceptsTensorsWithoutElements) {
  EXPECT_EQ(error_of(R"({"x":)" + tensor("F32", "[4611686018427387904,0,8]", "[0,0]") + "}", 0),
            "");
  EXPECT_EQ(error_of("{}", 0), "");
}

TEST(Safetensors, RefusesFilesShorterThanTheirHeader) {
  EXPECT_EQ(read_safetensors({}).error, "file: has 0 bytes, a safetensors file has 8 or more");
  const auto seven = bytes_of("1234567");
  EXPECT_EQ(read_safetensors(seven).error, "file: has 7 bytes, a safetensors file has 8 or more");
  const auto huge = bytes_of(length_prefix(UINT64_MAX) + "{}");
  EXPECT_EQ(read_safetensors(huge).error, "header: claims 18446744073709551615 bytes, there are 2");
}

TEST(Safetensors, RefusesHeadersThatAreNoObject) {
  EXPECT_EQ(error_of("", 0), "header: is not JSON");
  EXPECT_EQ(error_of("{\"x\":", 0), "header: is not JSON");
  EXPECT_EQ(error_of("{\"\xff\":1}", 0), "header: is not JSON");
  EXPECT_EQ(error_of("[1]", 0), "header: is JSON, but not an object");
}

TEST(Safetensors, RefusesDeepNesting) {
  const std::string deep(200'000, '[');
  EXPECT_EQ(error_of("{\"x\":" + deep, 0), "header: nested too deeply");
  EXPECT_EQ(error_of("{\"x\":" + deep + std::string(200'000, ']') + "}", 0),
            "header: nested too deeply");
}

TEST(Safetensors, RefusesTheSameNameTwice) {
  const std::string one = R"("x":)" + tensor("F32", "[1]", "[0,4]");
  EXPECT_EQ(error_of("{" + one + "," + one + "}", 4), "header: \"x\" stands there twice");
  EXPECT_EQ(error_of(R"({"x":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4),
            "header: \"dtype\" stands there twice");
}

TEST(Safetensors, RefusesEntriesThatAreIncomplete) {
  EXPECT_EQ(error_of(R"({"x":3})", 0), "x: entry is no object");
  EXPECT_EQ(error_of(R"({"x":{}})", 0), "x: dtype is missing or no text");
  EXPECT_EQ(error_of(R"({"x":)" + tensor("F31", "[1]", "[0,4]") + "}", 4),
            "x: dtype \"F31\" is not of the format");
  EXPECT_EQ(error_of(R"({"__metadata__":{"x":1}})", 0), "__metadata__: \"x\" is no text");
  EXPECT_EQ(error_of(R"({"__metadata__":1})", 0), "__metadata__: is no object");
}

TEST(Safetensors, RefusesShapesThatAreNoLengths) {
  for (const char* shape : {"3", "[-1]", "[1.5]", "[\"1\"]", "[18446744073709551615]", "[null]"}) {
    EXPECT_EQ(error_of(R"({"x":)" + tensor("F32", shape, "[0,4]") + "}", 4),
              "x: shape is no list of lengths")
        << shape;
  }
}

TEST(Safetensors, RefusesOffsetsOutsideTheFile) {
  for (const char* offsets : {"[0]", "[0,4,8]", "[-4,0]", "4"}) {
    EXPECT_EQ(error_of(R"({"x":)" + tensor("F32", "[1]", offsets) + "}", 4),
              "x: data_offsets is no pair of offsets")
        << offsets;
  }
  EXPECT_EQ(error_of(R"({"x":)" + tensor("F32", "[1]", "[4,0]") + "}", 4),
            "x: data_offsets are 4 and 0, the file has 4 bytes of data");
  EXPECT_EQ(error_of(R"({"x":)" + tensor("F32", "[2]", "[0,8]") + "}", 4),
            "x: data_offsets are 0 and 8, the file has 4 bytes of data");
}

TEST(Safetensors, RefusesSizesThatDoNotMatchOrOverflow) {
  const std::string wanted = "x: shape and dtype do not make the 4 bytes it has";
  EXPECT_EQ(error_of(R"({"x":)" + tensor("F32", "[2]", "[0,4]") + "}", 4), wanted);
  EXPECT_EQ(error_of(R"({"x":)" + tensor("F32", "[4611686018427387905]", "[0,4]") + "}", 4),
            wanted);
  EXPECT_EQ(error_of(R"({"x":)" + tensor("F32", "[4294967296,4294967296,1]", "[0,4]") + "}", 4),
            wanted);
}

TEST(Safetensors, RefusesOverlapsGapsAndRests) {
  const std::string a = R"({"a":)" + tensor("F32", "[2]", "[0,8]");
  EXPECT_EQ(error_of(a + R"(,"b":)" + tensor("F32", "[2]", "[4,12]") + "}", 12),
            "b: overlaps another tensor");
  EXPECT_EQ(error_of(a + R"(,"b":)" + tensor("F32", "[1]", "[12,16]") + "}", 16),
            "b: a gap lies before its data");
  EXPECT_EQ(error_of(a + "}", 11), "file: 3 bytes at its end are of no tensor");
}

TEST(Safetensors, ShowsNamesShortAndHarmless) {
  const std::string name = "\\u001b[2J" + std::string(100, 'n');
  EXPECT_EQ(error_of("{\"" + name + "\":1}", 0),
            "?[2J" + std::string(36, 'n') + "...: entry is no object");
}

}  // namespace
}  // namespace rapt::cli
