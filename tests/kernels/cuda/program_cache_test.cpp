#include "kernels/cuda/program_cache.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "tests/base/scratch.h"

namespace moe::kernels::cuda {
namespace {

const ProgramSource kSource{"sum", "int sum;", {{"a.cuh", "int a;"}}, {"sum<float>"}};
const ProgramTarget kTarget{"sm_90", "13.0"};
const std::string kCode(
    "\x7f"
    "ELF\n\0code",
    10);

class ProgramCacheTest : public testing::Test {
 protected:
  /// How often it had to be compiled so far.
  int compilations_of(const ProgramSource& source, const ProgramTarget& target = kTarget) {
    const auto program = ProgramCache(folder_).get(source, target, [&] {
      ++compilations_;
      return Program{kCode, {{"sum<float>", "_Z3sumIfE"}}};
    });
    EXPECT_EQ(program.code, kCode);
    EXPECT_EQ(program.symbols.at("sum<float>"), "_Z3sumIfE");
    return compilations_;
  }
  fs::path only_file() const {
    const auto files = entries_of(folder_, ErrorKind::resource);
    EXPECT_EQ(files.size(), 1U);
    return files.front();
  }
  void damage(const std::function<void(std::string&)>& change) const {
    auto bytes = read_file(only_file(), ErrorKind::resource);
    change(bytes);
    std::ofstream(only_file(), std::ios::binary | std::ios::trunc) << bytes;
  }

  test::Scratch home_;
  fs::path folder_ = home_.path() / "cache";
  int compilations_ = 0;
};

TEST_F(ProgramCacheTest, KeepsWhatWasCompiledOnce) {
  EXPECT_EQ(compilations_of(kSource), 1);
  EXPECT_EQ(compilations_of(kSource), 1);
}

TEST_F(ProgramCacheTest, TellsApartAllThatTheCodeDependsOn) {
  compilations_of(kSource);
  auto text = kSource, header = kSource, kernel = kSource, name = kSource;
  text.text += " ";
  header.headers[0].text += " ";
  kernel.kernels.insert(kernel.kernels.begin(), "sum<double>");
  name.name = "other";
  EXPECT_EQ(compilations_of(text), 2);
  EXPECT_EQ(compilations_of(header), 3);
  EXPECT_EQ(compilations_of(kSource, {"sm_80", "13.0"}), 4);
  EXPECT_EQ(compilations_of(kSource, {"sm_90", "12.9"}), 5);
  EXPECT_EQ(compilations_of(name), 5) << "the name is for messages";
  EXPECT_EQ(ProgramCache(folder_).get(kernel, kTarget, [] { return Program{"x", {}}; }).code, "x");
}

TEST_F(ProgramCacheTest, CompilesAgainWhatIsDamaged) {
  compilations_of(kSource);
  const std::vector<std::function<void(std::string&)>> damages{
      [](std::string& bytes) { bytes.back() ^= 1; },
      [](std::string& bytes) { bytes.pop_back(); },
      [](std::string& bytes) { bytes.clear(); },
      [](std::string& bytes) { bytes = "{}\n"; },
      [](std::string& bytes) { bytes = "[1]\ncode"; },
      [](std::string& bytes) { bytes = "no JSON\ncode"; },
      [](std::string& bytes) { bytes.replace(bytes.find("\"format\":1"), 10, "\"format\":2"); },
      [](std::string& bytes) { bytes.replace(bytes.find("sum<float>"), 3, "mus"); }};
  for (std::size_t i = 0; i < damages.size(); ++i) {
    damage(damages[i]);
    const auto before = compilations_;
    EXPECT_EQ(compilations_of(kSource), before + 1) << i;
    EXPECT_EQ(compilations_of(kSource), before + 1) << i << ": written anew";
  }
}

TEST_F(ProgramCacheTest, DoesWithoutAFolderThatCanNotBeWritten) {
  const auto file = home_.path() / "file";
  std::ofstream(file) << "no folder";
  folder_ = file / "cache";
  EXPECT_EQ(compilations_of(kSource), 1);
  EXPECT_EQ(compilations_of(kSource), 2);
  folder_ = fs::path();
  EXPECT_EQ(compilations_of(kSource), 3);
}

TEST_F(ProgramCacheTest, LeavesNoTemporaryFiles) {
  compilations_of(kSource);
  EXPECT_EQ(only_file().extension(), ".cubin");
}

/// Sets a variable of the environment, and puts it back.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    if (const auto* old = std::getenv(name)) old_ = old;
    value == nullptr ? unsetenv(name) : setenv(name, value, 1);
  }
  ~Variable() { old_ ? setenv(name_, old_->c_str(), 1) : unsetenv(name_); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
  std::optional<std::string> old_;
};

TEST(ProgramCacheFolder, IsThatOfTheUserOrNone) {
  const Variable cache("XDG_CACHE_HOME", "/c"), home("HOME", "/h");
  EXPECT_EQ(program_cache_folder(), "/c/makemoe");
  {
    const Variable relative("XDG_CACHE_HOME", "c");
    EXPECT_EQ(program_cache_folder(), "/h/.cache/makemoe") << "a relative one is to be ignored";
    const Variable none("HOME", nullptr);
    EXPECT_EQ(program_cache_folder(), "");
  }
}

}  // namespace
}  // namespace moe::kernels::cuda
