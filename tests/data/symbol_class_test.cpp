#include "moe/data/symbol_class.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

namespace moe {
namespace {

TEST(SymbolClass, TellsTheKindsOfAsciiApartAndNothingBeyond) {
  std::map<SymbolClass, int> counts;
  for (char32_t symbol = 0; symbol < 128; ++symbol) ++counts[class_of(symbol)];
  EXPECT_EQ(counts, (std::map<SymbolClass, int>{{SymbolClass::lower_case, 26},
                                                {SymbolClass::upper_case, 26},
                                                {SymbolClass::digit, 10},
                                                {SymbolClass::punctuation, 32},
                                                {SymbolClass::space, 2},
                                                {SymbolClass::newline, 1},
                                                {SymbolClass::other, 31}}));
  for (const auto symbol : {U'\x80', U'é', U'中', U'\U0010FFFF'})
    EXPECT_EQ(class_of(symbol), SymbolClass::other);
}

TEST(SymbolClass, EachHasANameOfItsOwn) {
  for (std::size_t i = 0; i < kSymbolClasses.size(); ++i)
    EXPECT_EQ(std::count(kSymbolClasses.begin(), kSymbolClasses.end(), kSymbolClasses[i]), 1);
  EXPECT_EQ(kSymbolClasses[static_cast<std::size_t>(SymbolClass::newline)], "newline");
  EXPECT_EQ(kSymbolClasses.size(), static_cast<std::size_t>(SymbolClass::other) + 1);
}

}  // namespace
}  // namespace moe
