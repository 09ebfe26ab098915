#include "moe/base/sha256.h"

#include <gtest/gtest.h>

#include <stdexcept>

namespace moe {
namespace {

// FIPS 180-4 examples.
TEST(Sha256, GivesTheKnownAnswers) {
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex(std::string(1'000'000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, PiecesGiveTheDigestOfTheWhole) {
  EXPECT_EQ(Sha256().update("a").update("").update("bc").hex(), sha256_hex("abc"));
}

TEST(Sha256, UseAfterTheDigestIsABug) {
  Sha256 sha;
  sha.hex();
  EXPECT_THROW(sha.hex(), std::logic_error);
  EXPECT_THROW(sha.update("a"), std::logic_error);
}

}  // namespace
}  // namespace moe
