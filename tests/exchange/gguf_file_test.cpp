#include "moe/exchange/gguf_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <limits>

#include "moe/base/error.h"
#include "moe/base/text.h"
#include "tests/base/scratch.h"
#include "tests/exchange/gguf_golden.h"

namespace moe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

template <class T>
std::string raw(T value) {
  std::string out(sizeof(T), '\0');
  std::memcpy(out.data(), &value, sizeof(T));
  return out;
}
std::string text(const std::string& value) { return raw<std::uint64_t>(value.size()) + value; }
std::string key(const std::string& name, std::uint32_t type, const std::string& value) {
  return text(name) + raw(type) + value;
}
std::string u32_key(const std::string& name, std::uint32_t value) {
  return key(name, 4, raw(value));
}
std::string tensor(const std::string& name, const std::vector<std::uint64_t>& sizes,
                   std::uint32_t type, std::uint64_t begin) {
  auto out = text(name) + raw(static_cast<std::uint32_t>(sizes.size()));
  for (const auto size : sizes) out += raw(size);
  return out + raw(type) + raw(begin);
}
std::string padded_text(std::string bytes, std::size_t to = 32) {
  bytes.resize((bytes.size() + to - 1) / to * to, '\0');
  return bytes;
}
std::string front(std::uint64_t tensors, std::uint64_t keys, std::uint32_t version = 3) {
  return "GGUF" + raw(version) + raw(tensors) + raw(keys);
}
/// A file of these tensors and keys, with `data` behind them.
std::string file_of(const std::vector<std::string>& tensors, const std::vector<std::string>& keys,
                    const std::string& data = {}) {
  return padded_text(front(tensors.size(), keys.size()) + join(keys, "") + join(tensors, "")) +
         data;
}

class GgufFile : public ::testing::Test {
 protected:
  std::filesystem::path path(const std::string& name) const { return scratch_ / name; }
  GgufHeader read(const std::string& bytes) {
    std::ofstream(path("w.gguf"), std::ios::binary) << bytes;
    return read_gguf(FileReader(path("w.gguf"), ErrorKind::checkpoint), "w.gguf");
  }

 private:
  test::Scratch scratch_;
};

TEST_F(GgufFile, TheKeysOfThePackageAreReadValueForValue) {
  const test::GgufGolden golden;
  const auto value = [&](const char* name) {
    return golden.header().keys.find(name) ? *golden.header().keys.find(name) : GgufValue();
  };
  EXPECT_EQ(value("general.architecture"), GgufValue("made-up"));
  EXPECT_EQ(value("number.uint8"), GgufValue(std::uint8_t{255}));
  EXPECT_EQ(value("number.int8"), GgufValue(std::int8_t{-128}));
  EXPECT_EQ(value("number.uint16"), GgufValue(std::uint16_t{65535}));
  EXPECT_EQ(value("number.int16"), GgufValue(std::int16_t{-32768}));
  EXPECT_EQ(value("number.uint32"), GgufValue(std::numeric_limits<std::uint32_t>::max()));
  EXPECT_EQ(value("number.int32"), GgufValue(std::numeric_limits<std::int32_t>::min()));
  EXPECT_EQ(value("number.uint64"), GgufValue(std::numeric_limits<std::uint64_t>::max()));
  EXPECT_EQ(value("number.int64"), GgufValue(std::numeric_limits<std::int64_t>::min()));
  EXPECT_EQ(value("number.float32"), GgufValue(0.1F));
  EXPECT_EQ(value("number.float64"), GgufValue(0.1));
  EXPECT_EQ(value("flag"), GgufValue(true));
  EXPECT_EQ(value("text"), GgufValue("a \"quoted\"\n\ttext of é and 漢"));
  EXPECT_EQ(value("list.numbers"), GgufValue(GgufList(std::vector<std::int32_t>{-1, 2, 3})));
  EXPECT_EQ(value("list.fractions"), GgufValue(GgufList(std::vector<float>{0.5F, -0.25F})));
  EXPECT_EQ(value("list.flags"), GgufValue(GgufList(std::vector<bool>{true, false, true})));
  EXPECT_EQ(value("list.texts"),
            GgufValue(GgufList(std::vector<std::string>{"", "b", "\\n", "🌊"})));
  EXPECT_EQ(golden.header().keys.find("absent"), nullptr);
}

TEST_F(GgufFile, ShapesAreReadOutermostFirst) {
  const test::GgufGolden golden;
  EXPECT_THAT(golden.tensor("three").shape, ElementsAre(2, 3, 4));
  const auto values = golden.values("three");
  for (std::size_t i = 0; i < values.size(); ++i) EXPECT_EQ(values[i], static_cast<float>(i));
}

TEST_F(GgufFile, WhatThePackageWroteIsWrittenAgainToTheByte) {
  const test::GgufGolden golden;
  std::vector<GgufSource> sources;
  for (const auto& one : golden.header().tensors)
    sources.push_back({one.name, static_cast<GgmlType>(one.type), one.shape,
                       [&, name = one.name](const ValueSink& sink) {
                         const auto of = name.substr(0, name.find('.'));
                         const bool is_coded = name != "values" && name != "three" && of == name;
                         sink(golden.values(is_coded ? "values" : name));
                       }});
  std::string written;
  write_gguf(golden.header().keys, sources, [&](std::string_view bytes) { written += bytes; });
  std::ifstream in(test::GgufGolden::path(), std::ios::binary);
  EXPECT_EQ(written, std::string(std::istreambuf_iterator<char>(in), {}));
}

TEST_F(GgufFile, ATensorWithTooFewValuesIsABug) {
  const GgufSource source{
      "w", GgmlType::f32, {2, 2}, [](const ValueSink& sink) { sink(std::vector<float>(3)); }};
  EXPECT_THROW(write_gguf({}, {&source, 1}, [](std::string_view) {}), std::logic_error);
}

TEST_F(GgufFile, OtherAlignmentsAndOrdersAndNoTensorsAtAllAreRead) {
  const auto keys = u32_key("general.alignment", 8);
  const auto infos = tensor("b", {1}, 0, 8) + tensor("a", {1}, 0, 0);
  const auto header = read(padded_text(front(2, 1) + keys + infos, 8) + std::string(12, 'x'));
  ASSERT_EQ(header.tensors.size(), 2U);
  EXPECT_EQ(header.tensors[0].name, "a");
  EXPECT_EQ(header.tensors[1].begin, header.tensors[0].end + 4);
  EXPECT_TRUE(read(front(0, 0)).tensors.empty());
  EXPECT_TRUE(read(front(0, 0, 2)).tensors.empty());
  EXPECT_TRUE(read(file_of({tensor("scalar", {}, 0, 0)}, {}, "1234")).tensors[0].shape.empty());
}

TEST_F(GgufFile, EveryLengthOfATruncatedFileIsRefused) {
  const auto list = raw<std::uint32_t>(8) + raw<std::uint64_t>(2) + text("ab") + text("c");
  const auto whole = file_of({tensor("w", {32, 2}, 8, 0)}, {key("list", 9, list), u32_key("n", 7)},
                             std::string(68, 'x'));
  EXPECT_EQ(read(whole).tensors.size(), 1U);
  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_THROW(read(whole.substr(0, size)), CheckpointError) << size;
}

TEST_F(GgufFile, ATypeThatIsNotReadIsNamedWhereItsValuesAreWanted) {
  const auto bytes = file_of({tensor("w", {256}, 12, 0)}, {}, std::string(144, 'x'));
  const auto header = read(bytes);
  const FileReader file(path("w.gguf"), ErrorKind::checkpoint);
  try {
    read_gguf_values(file, header.tensors[0], "w.gguf", [](std::span<const float>) {});
    ADD_FAILURE() << "Q4_K was read";
  } catch (const CheckpointError& error) {
    EXPECT_THAT(error.what(), HasSubstr("Q4_K"));
  }
}

struct HostileGguf {
  const char* what;
  std::string bytes;
  const char* says;
};

std::vector<HostileGguf> hostile_keys() {
  const auto list = [](std::uint32_t type, std::uint64_t count) { return raw(type) + raw(count); };
  constexpr auto kHuge = std::uint64_t{1} << 62U;
  return {
      {"nothing", "", "its first bytes"},
      {"three bytes", "GGU", "its first bytes"},
      {"another magic", "GGML" + raw<std::uint32_t>(3), "does not begin"},
      {"version 0", front(0, 0, 0), "version 0"},
      {"version 1", front(0, 0, 1), "version 1"},
      {"version 4", front(0, 0, 4), "version 4"},
      {"big-endian", front(0, 0, 0x03000000), "big-endian"},
      {"tensors beyond the file", front(1, 0), "the number of tensors is 1"},
      {"2^62 tensors", front(kHuge, 0), "the number of tensors"},
      {"2^64 - 1 tensors", front(~std::uint64_t{0}, 0), "the number of tensors"},
      {"keys beyond the file", front(0, 9), "the number of keys is 9"},
      {"2^62 keys", front(0, kHuge), "the number of keys"},
      {"a key of no name", file_of({}, {u32_key("", 1)}), "has 0 bytes"},
      {"a key of 2,000 bytes", file_of({}, {u32_key(std::string(2000, 'k'), 1)}), "has 2000 bytes"},
      {"a key's name beyond the file", front(0, 1) + raw(kHuge) + "name....", "takes 46116"},
      {"a key's name of 2^64 - 1", front(0, 1) + raw(~std::uint64_t{0}) + "name....",
       "takes 18446"},
      {"a key that is not UTF-8", file_of({}, {u32_key("\xff\xfe", 1)}), "not UTF-8"},
      {"a key with a NUL", file_of({}, {u32_key(std::string("a\0b", 3), 1)}), "NUL"},
      {"a key twice", file_of({}, {u32_key("n", 1), u32_key("n", 1)}), "stands there twice"},
      {"a value of type 13", file_of({}, {key("n", 13, raw(kHuge))}), "type 13"},
      {"a value of type 2^32 - 1", file_of({}, {key("n", ~0U, raw(kHuge))}), "which is none"},
      {"a flag of 2", file_of({}, {key("n", 7, "\2")}), "neither true nor false"},
      {"a text beyond the file", file_of({}, {key("n", 8, raw(kHuge))}), "takes 46116"},
      {"a text that is not UTF-8", file_of({}, {key("n", 8, text("a\x80"))}), "not UTF-8"},
      {"a text of surrogates", file_of({}, {key("n", 8, text("\xED\xA0\x80"))}), "not UTF-8"},
      {"a list of type 13", file_of({}, {key("n", 9, list(13, 0))}), "list of type 13"},
      {"a list of lists", file_of({}, {key("n", 9, list(9, 1) + list(9, 1))}), "list of lists"},
      {"a list beyond the file", file_of({}, {key("n", 9, list(0, 1000))}), "the length of"},
      {"a list of 2^62 numbers", file_of({}, {key("n", 9, list(10, kHuge))}), "the length of"},
      {"a list whose bytes come round to 0", file_of({}, {key("n", 9, list(10, kHuge * 2))}),
       "the length of"},
      {"a list of 2^61 texts", file_of({}, {key("n", 9, list(8, kHuge / 2))}), "the length of"},
      {"a list of flags of 3", file_of({}, {key("n", 9, list(7, 1) + "\3")}), "neither true"},
      {"a list of texts that is cut", file_of({}, {key("n", 9, list(8, 1) + raw(kHuge))}), "takes"},
      {"alignment 0", file_of({}, {u32_key("general.alignment", 0)}), "no power of two"},
      {"alignment 24", file_of({}, {u32_key("general.alignment", 24)}), "no power of two"},
      {"alignment 2^31", file_of({}, {u32_key("general.alignment", 1U << 31U)}), "no power of two"},
      {"alignment as text", file_of({}, {key("general.alignment", 8, text("32"))}), "uint32"},
  };
}

std::vector<HostileGguf> hostile_tensors() {
  const auto one = [](const std::string& info, std::size_t data = 64) {
    return file_of({info}, {}, std::string(data, 'x'));
  };
  const auto two = [](std::uint64_t first, std::uint64_t second, std::size_t data = 68) {
    return file_of({tensor("a", {1}, 0, first), tensor("b", {1}, 0, second)}, {},
                   std::string(data, 'x'));
  };
  constexpr auto kHuge = std::uint64_t{1} << 62U;
  return {
      {"a tensor of no name", one(tensor("", {1}, 0, 0)), "has 0 bytes"},
      {"a tensor's name not UTF-8", one(tensor("\xc0\x80", {1}, 0, 0)), "not UTF-8"},
      {"a tensor twice",
       file_of({tensor("a", {1}, 0, 0), tensor("a", {1}, 0, 32)}, {}, std::string(36, 'x')),
       "stands there twice"},
      {"five dimensions", one(tensor("a", {1, 1, 1, 1, 1}, 0, 0)), "5 dimensions"},
      {"2^32 - 1 dimensions", one(text("a") + raw(~0U) + std::string(64, '\1')), "4294967295"},
      {"a size of 2^63", one(tensor("a", {kHuge * 2}, 0, 0)), "a dimension of"},
      {"a size of 2^64 - 1", one(tensor("a", {~std::uint64_t{0}}, 0, 0)), "a dimension of"},
      {"a product that overflows", one(tensor("a", {kHuge, 4}, 0, 0)), "overflows"},
      {"a product that comes round to 0", one(tensor("a", {kHuge, kHuge}, 0, 0)), "overflows"},
      {"bytes that overflow", one(tensor("a", {kHuge}, 0, 0)), "overflows"},
      {"type 4, which was taken away", one(tensor("a", {32}, 4, 0)), "type 4"},
      {"type 2^32 - 1", one(tensor("a", {32}, ~0U, 0)), "which is none"},
      {"rows of Q8_0 that are no blocks", one(tensor("a", {31}, 8, 0)), "no whole blocks of Q8_0"},
      {"rows of Q4_K that are no blocks", one(tensor("a", {128, 2}, 12, 0)), "blocks of Q4_K"},
      {"a place between", one(tensor("a", {1}, 0, 4)), "no multiple of 32"},
      {"a hole at the front", one(tensor("a", {1}, 0, 32)), "leaves a hole"},
      {"overlap", two(0, 0), "overlaps"},
      {"overlap of some bytes",
       file_of({tensor("a", {9}, 0, 0), tensor("b", {1}, 0, 32)}, {}, std::string(68, 'x')),
       "overlaps"},
      {"a hole between", two(0, 64), "leaves a hole"},
      {"values beyond the file", one(tensor("a", {17}, 0, 0)), "ends beyond the file"},
      {"the last value cut", one(tensor("a", {16}, 0, 0), 63), "ends beyond the file"},
      {"a place near 2^64", one(tensor("a", {1}, 0, ~std::uint64_t{31})), "hole"},
      {"a kilobyte too many", one(tensor("a", {16}, 0, 0), 1064), "bytes follow the last tensor"},
      {"no tensors, but data", file_of({}, {}, std::string(100, 'x')), "bytes follow"},
      {"a tensor and no data", front(1, 0) + tensor("a", {1}, 0, 0), "ends beyond the file"},
  };
}

TEST_F(GgufFile, EveryHostileFileIsRefusedWithOneErrorThatNamesIt) {
  auto cases = hostile_keys();
  for (const auto& one : hostile_tensors()) cases.push_back(one);
  for (const auto& [what, bytes, says] : cases) {
    try {
      read(bytes);
      ADD_FAILURE() << what << " was accepted";
    } catch (const CheckpointError& error) {
      EXPECT_THAT(error.what(), StartsWith("w.gguf: ")) << what;
      EXPECT_THAT(error.what(), HasSubstr(says)) << what;
      EXPECT_THAT(error.what(), HasSubstr("; ")) << what;
    }
  }
  EXPECT_GE(cases.size(), 60U);
}

}  // namespace
}  // namespace moe
