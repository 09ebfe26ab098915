#include "src/tracking/record.h"

#include <gtest/gtest.h>

#include <string>

namespace moe::tracking {
namespace {

struct Known {
  const char* name;
  std::string bytes;
  std::uint32_t crc;
};
class Crc32c : public testing::TestWithParam<Known> {};

TEST_P(Crc32c, HasThePublishedValue) { EXPECT_EQ(crc32c(GetParam().bytes), GetParam().crc); }

std::string counting(int first, int step) {
  std::string out;
  for (int i = 0; i < 32; ++i) out.push_back(static_cast<char>(first + step * i));
  return out;
}

INSTANTIATE_TEST_SUITE_P(  // RFC 3720, appendix B.4; "123456789" is the usual check value
    Record, Crc32c,
    testing::Values(Known{"nothing", "", 0}, Known{"digits", "123456789", 0xE3069283U},
                    Known{"zeros", std::string(32, '\0'), 0x8A9136AAU},
                    Known{"ones", std::string(32, '\xFF'), 0x62A8AB43U},
                    Known{"rising", counting(0, 1), 0x46DD794EU},
                    Known{"falling", counting(31, -1), 0x113FDB5CU}),
    [](const auto& given) { return std::string(given.param.name); });

TEST(Record, IsLengthMaskedCrcPayloadMaskedCrc) {
  std::string out = "before";
  append_record(out, std::string(32, '\0'));
  // Masked by hand: ((c >> 15) | (c << 17)) + 0xA282EAD8, of crc32c(20 00 .. 00) = 0x8128D713 and
  // of 0x8A9136AA.
  const std::string expected = std::string("before\x20\0\0\0\0\0\0\0", 14) + "\x29\xED\xA9\x50" +
                               std::string(32, '\0') + "\xFA\xFF\xD7\x0F";
  EXPECT_EQ(out, expected);
}

TEST(Record, AnEmptyPayloadIsARecordToo) {
  std::string out;
  append_record(out, "");
  EXPECT_EQ(out.size(), 16U);
  EXPECT_EQ(out.substr(0, 8), std::string(8, '\0'));
}

}  // namespace
}  // namespace moe::tracking
