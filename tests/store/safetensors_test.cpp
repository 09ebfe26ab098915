#include "moe/store/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "moe/base/error.h"

namespace moe {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string length_bytes(std::uint64_t length) {
  std::string out;
  for (unsigned i = 0; i < 8; ++i) out += static_cast<char>(length >> (8 * i) & 0xFFU);
  return out;
}

std::string file_of(const std::string& header, std::size_t data_bytes) {
  return length_bytes(header.size()) + header + std::string(data_bytes, 'x');
}

SafetensorsHeader parse(const std::string& file, std::string_view where = "f") {
  return parse_safetensors(file, file.size(), where);
}

TEST(Safetensors, WhatIsWrittenReadsBack) {
  std::vector<TensorInfo> tensors{
      {"step", "I64", {}, 0, 0}, {"a", "F32", {2, 3}, 0, 0}, {"empty", "F32", {0}, 0, 0}};
  auto file = write_safetensors_header(tensors);
  EXPECT_EQ(file.size() % 8, 0U);
  file += std::string(8 + 24, '\1');
  const auto header = parse(file);
  ASSERT_EQ(header.tensors.size(), 3U);
  EXPECT_EQ(header.tensors[1].name, "a");
  EXPECT_EQ(header.tensors[1].shape, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(header.tensors[1].begin, 8U);
  EXPECT_EQ(header.tensors[1].end, 32U);
}

TEST(Safetensors, AcceptsPaddingAnyOrderAndMisalignedTensors) {
  const std::string header =
      R"({"b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]},"__metadata__":{"k":"v"},)"
      R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}   )";
  EXPECT_EQ(parse(file_of(header, 5)).tensors.front().name, "a");
}

TEST(Safetensors, RefusesEveryLengthOfATruncatedFile) {
  const auto file = file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8);
  for (std::size_t size = 0; size < file.size(); ++size)
    EXPECT_THROW(parse(file.substr(0, size)), Error) << size;
}

struct Hostile {
  const char* what;
  std::string file;
};

std::string one(const std::string& entry, std::size_t data_bytes = 8) {
  return file_of("{\"a\":" + entry + "}", data_bytes);
}

std::string two(const std::string& first, const std::string& second) {
  const std::string begin = R"({"dtype":"F32","shape":[1],"data_offsets":)";
  return file_of("{\"a\":" + begin + first + "},\"b\":" + begin + second + "}}", 8);
}

std::vector<Hostile> hostile_files() {
  const std::string f32 = R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  const std::string nested = std::string(10'000, '[') + std::string(10'000, ']');
  return {
      {"empty", ""},
      {"seven bytes", "1234567"},
      {"length zero", length_bytes(0) + "{}"},
      {"length beyond the file", length_bytes(3) + "{}"},
      {"length 2^63", length_bytes(std::uint64_t{1} << 63U) + "{}"},
      {"length all ones", length_bytes(~std::uint64_t{0}) + "{}"},
      {"length over the cap", length_bytes(100'000'001) + "{}"},
      {"no JSON", file_of("hello", 0)},
      {"an array", file_of("[]", 0)},
      {"NUL padding", file_of(std::string("{}\0\0", 4), 0)},
      {"bad UTF-8", file_of("{\"\xff\":1}", 0)},
      {"nested 10,000 deep", one(nested)},
      {"trailing JSON", file_of("{}{}", 0)},
      {"duplicate names", file_of("{\"a\":" + f32 + ",\"a\":" + f32 + "}", 8)},
      {"metadata number", file_of(R"({"__metadata__":{"a":1}})", 0)},
      {"metadata list", file_of(R"({"__metadata__":[]})", 0)},
      {"entry no object", one("1")},
      {"no dtype", one(R"({"shape":[2],"data_offsets":[0,8]})")},
      {"no shape", one(R"({"dtype":"F32","data_offsets":[0,8]})")},
      {"no offsets", one(R"({"dtype":"F32","shape":[2]})")},
      {"dtype unknown", one(R"({"dtype":"F33","shape":[2],"data_offsets":[0,8]})")},
      {"dtype number", one(R"({"dtype":32,"shape":[2],"data_offsets":[0,8]})")},
      {"shape no list", one(R"({"dtype":"F32","shape":2,"data_offsets":[0,8]})")},
      {"shape negative", one(R"({"dtype":"F32","shape":[-2],"data_offsets":[0,8]})")},
      {"shape fraction", one(R"({"dtype":"F32","shape":[2.0],"data_offsets":[0,8]})")},
      {"shape product overflows",
       one(R"({"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]})", 0)},
      {"shape beyond int64",
       one(R"({"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,8]})")},
      {"shape unlike offsets", one(R"({"dtype":"F32","shape":[3],"data_offsets":[0,8]})")},
      {"offsets reversed", one(R"({"dtype":"F32","shape":[2],"data_offsets":[8,0]})")},
      {"offsets beyond the data", one(R"({"dtype":"F32","shape":[4],"data_offsets":[0,16]})")},
      {"three offsets", one(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8,8]})")},
      {"offset negative", one(R"({"dtype":"F32","shape":[2],"data_offsets":[-8,0]})")},
      {"overlap", two("[0,4]", "[0,4]")},
      {"partial overlap", two("[0,4]", "[2,6]")},
      {"hole", two("[0,4]", "[5,9]")},
      {"hole at the start", two("[1,5]", "[5,9]")},
      {"trailing bytes", one(f32, 9)},
      {"short data", one(f32, 7)},
  };
}

TEST(Safetensors, RefusesEveryHostileHeaderNamingTheFile) {
  for (const auto& [what, file] : hostile_files()) {
    try {
      parse(file, "w.safetensors");
      ADD_FAILURE() << what << " was accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::checkpoint) << what;
      EXPECT_THAT(error.what(), StartsWith("w.safetensors: ")) << what;
    }
  }
}

}  // namespace
}  // namespace moe
