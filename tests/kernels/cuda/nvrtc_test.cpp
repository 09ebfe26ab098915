#include "kernels/cuda/nvrtc.h"

#include <gtest/gtest.h>

#include "moe/base/error.h"
#include "nvrtc_library.h"

namespace moe::kernels::cuda {
namespace {

const ProgramSource kDouble{
    "double",
    "#include \"twice.cuh\"\n"
    "template <class T> __global__ void doubled(T* x) { x[0] = twice(x[0]); }",
    {{"twice.cuh", "template <class T> __device__ T twice(T x) { return 2 * x; }"}},
    {"doubled<float>", "doubled<double>"}};

class NvrtcTest : public testing::Test {
 protected:
  void SetUp() override {
    try {
      nvrtc_ = std::make_unique<Nvrtc>(nvrtc_to_test());
    } catch (const ResourceError& error) {
      GTEST_SKIP() << error.what();
    }
  }
  std::unique_ptr<Nvrtc> nvrtc_;
};

TEST(NvrtcLibrary, ThatIsNotThereIsNamedWithARemedy) {
  try {
    const Nvrtc nvrtc("/nowhere/libnvrtc.so");
    FAIL() << "there is none";
  } catch (const ResourceError& error) {
    EXPECT_NE(std::string(error.what()).find("/nowhere/libnvrtc.so"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("--device cpu"), std::string::npos);
  }
}

TEST(NvrtcLibrary, OfAnotherKindLacksItsFunctions) {
  EXPECT_THROW(Nvrtc("libm.so.6"), ResourceError);
}

TEST_F(NvrtcTest, CompilesInstantiationsForAGpuThatIsNotHere) {
  const auto program = nvrtc_->compile(kDouble, "sm_90");
  EXPECT_EQ(program.code.substr(0, 4),
            "\x7f"
            "ELF");
  ASSERT_EQ(program.symbols.size(), 2U);
  for (const auto& [kernel, symbol] : program.symbols)
    EXPECT_NE(program.code.find(symbol), std::string::npos) << kernel;
  EXPECT_NE(program.symbols.at("doubled<float>"), program.symbols.at("doubled<double>"));
}

TEST_F(NvrtcTest, CompilesTheSameTextToTheSameCode) {
  EXPECT_EQ(nvrtc_->compile(kDouble, "sm_80").code, nvrtc_->compile(kDouble, "sm_80").code);
}

TEST_F(NvrtcTest, HasTheLogOfATextThatDoesNotCompile) {
  const ProgramSource wrong{"wrong", "__global__ void f() { undeclared(); }"};
  try {
    nvrtc_->compile(wrong, "sm_90");
    FAIL() << "it compiled";
  } catch (const std::logic_error& error) {
    EXPECT_NE(std::string(error.what()).find("undeclared"), std::string::npos);
  }
}

TEST_F(NvrtcTest, DoesNotKnowEveryGpu) {
  EXPECT_THROW(nvrtc_->compile(kDouble, "sm_1"), ResourceError);
}

}  // namespace
}  // namespace moe::kernels::cuda
