// The texts in the binary are the files of the sources.

#include "kernels/cuda/texts.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <sstream>
#include <string>

namespace moe::kernels {
namespace {

using Texts = std::map<std::string, std::string>;

Texts texts_of_files() {
  const char* root = std::getenv("MAKEMOE_SOURCE_DIR");
  if (root == nullptr) throw std::runtime_error("MAKEMOE_SOURCE_DIR names the project's folder");
  Texts texts;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::filesystem::path(root) / "src/kernels/cuda")) {
    if (entry.path().extension() != ".cuh") continue;
    std::ostringstream text;
    text << std::ifstream(entry.path(), std::ios::binary).rdbuf();
    texts[entry.path().filename().string()] = text.str();
  }
  return texts;
}

Texts texts_of_binary() {
  Texts texts;
  for (const auto& [name, text] : cuda_texts()) texts[std::string(name)] = text;
  return texts;
}

TEST(CudaTexts, AreTheFilesByteForByte) {
  EXPECT_FALSE(texts_of_binary().empty());
  EXPECT_EQ(texts_of_binary(), texts_of_files());
}

TEST(CudaTexts, AreSortedAndEndWithAZero) {
  const auto texts = cuda_texts();
  EXPECT_TRUE(std::is_sorted(texts.begin(), texts.end(),
                             [](const auto& a, const auto& b) { return a.name < b.name; }));
  for (const auto& [name, text] : texts) {
    EXPECT_EQ(name.data()[name.size()], '\0');
    EXPECT_EQ(text.data()[text.size()], '\0');
  }
}

TEST(CudaTexts, IncludeNothingButOneAnother) {
  const auto texts = texts_of_binary();
  const std::regex include(R"(#\s*include\s*([<"][^>"]*[>"]))");
  for (const auto& [name, text] : texts)
    for (std::sregex_iterator at(text.begin(), text.end(), include), end; at != end; ++at) {
      const auto what = (*at)[1].str();
      EXPECT_EQ(what.front(), '"') << name << " includes " << what;
      EXPECT_TRUE(texts.contains(what.substr(1, what.size() - 2))) << name << ": " << what;
    }
}

}  // namespace
}  // namespace moe::kernels
