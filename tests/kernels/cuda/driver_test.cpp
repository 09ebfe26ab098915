// The way of a kernel from its text to a GPU, with a driver that runs it by fibers instead
// (fake_driver.cpp).

#include "kernels/cuda/driver.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <functional>

#include "cpu_twin.h"
#include "kernels/cuda/arguments.h"
#include "kernels/cuda/draws.cuh"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/optimizer.cuh"
#include "moe/base/random.h"
#include "moe/kernels/update_values.h"
#include "nvrtc_library.h"
#include "tests/base/scratch.h"

namespace moe::kernels::cuda {
namespace {

// What the host lays out is what the texts read.
static_assert(sizeof(DrawArguments) == sizeof(Draws));
static_assert(offsetof(DrawArguments, sequence) == offsetof(Draws, sequence));
static_assert(offsetof(DrawArguments, position) == offsetof(Draws, position));
static_assert(offsetof(DrawArguments, key) == offsetof(Draws, key));
static_assert(offsetof(DrawArguments, site) == offsetof(Draws, site));
static_assert(sizeof(DropoutArguments) == sizeof(Dropout));
static_assert(offsetof(DropoutArguments, draws) == offsetof(Dropout, draws));
static_assert(offsetof(DropoutArguments, threshold) == offsetof(Dropout, threshold));
static_assert(offsetof(DropoutArguments, scale) == offsetof(Dropout, scale));

static_assert(sizeof(AdamWArguments) == sizeof(AdamWMemory<float>));
static_assert(offsetof(AdamWArguments, exp_avg_sq) == offsetof(AdamWMemory<float>, exp_avg_sq));
static_assert(sizeof(AdamWConstantArguments) == sizeof(AdamWConstants));
static_assert(offsetof(AdamWConstantArguments, weight_decay) ==
              offsetof(AdamWConstants, weight_decay));
static_assert(offsetof(AdamWConstantArguments, cautious) == offsetof(AdamWConstants, cautious));
static_assert(sizeof(Update) == kUpdateValues * sizeof(double));
static_assert(offsetof(Update, learning_rate) == kLearningRate * sizeof(double));
static_assert(offsetof(Update, step) == kStep * sizeof(double));
static_assert(offsetof(Update, momentum) == kMomentum * sizeof(double));
static_assert(offsetof(Update, decay_scale) == kDecayScale * sizeof(double));
static_assert(offsetof(Update, average_weight) == kAverageWeight * sizeof(double));
static_assert(offsetof(Update, gradient_scale) == kGradientScale * sizeof(double));
static_assert(offsetof(Update, is_sound) == kIsSound * sizeof(double));
static_assert(kSquaresAtOnce == kNormBlock && kSumThreads == kPartsAtOnce);

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const ResourceError& error) {
    return error.what();
  }
  return "";
}

TEST(DriverTest, OneThatIsNotThereIsNamedWithARemedy) {
  const auto message = message_of([] { Driver("/nowhere/libcuda.so.1"); });
  EXPECT_NE(message.find("/nowhere/libcuda.so.1"), std::string::npos) << message;
  EXPECT_NE(message.find("--device cpu"), std::string::npos) << message;
}

TEST(DriverTest, ALibraryOfAnotherKindLacksItsFunctions) {
  EXPECT_NE(message_of([] { Driver("libm.so.6"); }).find("cuGetErrorName"), std::string::npos);
}

TEST(DriverTest, TellsWhatTheCurrentGpuIs) {
  EXPECT_EQ(Driver(MOE_FAKE_CUDA).architecture(), "sm_90");
}

TEST(DriverTest, AFailureSaysWhatWasTriedAndTheDriversName) {
  const Driver driver(MOE_FAKE_CUDA);
  const auto missing = message_of([&] { driver.function(driver.load("\177ELF"), "nowhere"); });
  EXPECT_NE(missing.find("the kernel nowhere: CUDA_ERROR_NOT_FOUND"), std::string::npos) << missing;
  const auto broken = message_of([&] { driver.load("text"); });
  EXPECT_NE(broken.find("loading kernels: an unknown error"), std::string::npos) << broken;
}

/// What the fake driver was asked to start.
struct Started {
  std::string symbol;
  unsigned blocks = 0, threads = 0;
  void* stream = nullptr;
};
Started started;

/// Runs draw_mask<float> of the arguments that the host has packed.
void run_draw_mask(const char* symbol, unsigned blocks, unsigned threads, void* stream,
                   void** arguments) {
  started = {symbol, blocks, threads, stream};
  const auto dropout = *static_cast<Dropout*>(arguments[0]);
  const auto rows = *static_cast<Index*>(arguments[1]), width = *static_cast<Index*>(arguments[2]);
  auto* mask = *static_cast<float**>(arguments[3]);
  cuda_on_cpu::launch(blocks, threads, /*seed=*/1,
                      [&] { draw_mask<float>(dropout, rows, width, mask); });
}

class KernelsTest : public testing::Test {
 protected:
  void SetUp() override {
    try {
      const Nvrtc there(nvrtc_to_test());
    } catch (const ResourceError& error) {
      GTEST_SKIP() << error.what();
    }
    auto* library = dlopen(MOE_FAKE_CUDA, RTLD_NOW);
    using SetLaunch = void (*)(void (*)(const char*, unsigned, unsigned, void*, void**));
    reinterpret_cast<SetLaunch>(dlsym(library, "moe_set_fake_launch"))(&run_draw_mask);
  }
  Toolchain toolchain() const { return {nvrtc_to_test(), MOE_FAKE_CUDA, home_.path() / "cache"}; }

  test::Scratch home_;
};

TEST_F(KernelsTest, AKernelIsCompiledOnceAndRunsWithTheArgumentsOfTheHost) {
  constexpr std::int64_t kRows = 5, kWidth = 6;
  const std::vector<std::int64_t> sequence{0, 0, 1, 1, 9}, position{0, 1, 0, 1, 7};
  const std::uint64_t key = 0x0123456789ABCDEF;
  std::vector<float> mask(kRows * kWidth, -1);
  const DropoutArguments dropout{
      {sequence.data(), position.data(), &key, /*site=*/7}, /*threshold=*/1U << 30U, 4.0 / 3};
  int stream = 0;
  Kernels kernels(toolchain());
  for (int turn = 0; turn < 2; ++turn)
    kernels.start("draws.cuh", "draw_mask<float>", {3, 64}, &stream, dropout, kRows, kWidth,
                  mask.data());
  EXPECT_NE(started.symbol.find("draw_mask"), std::string::npos) << started.symbol;
  EXPECT_EQ(started.blocks, 3U);
  EXPECT_EQ(started.threads, 64U);
  EXPECT_EQ(started.stream, &stream);
  for (std::int64_t row = 0; row < kRows; ++row)
    for (std::int64_t w = 0; w < kWidth; ++w) {
      const auto n = static_cast<std::size_t>(row);
      const auto word = philox4x32({static_cast<Word>(w / 4), static_cast<Word>(position[n]),
                                    static_cast<Word>(sequence[n]), 7U},
                                   key)[static_cast<std::size_t>(w % 4)];
      EXPECT_EQ(mask[n * kWidth + static_cast<std::size_t>(w)],
                word >= 1U << 30U ? static_cast<float>(4.0 / 3) : 0.0F);
    }
  EXPECT_EQ(entries_of(home_.path() / "cache", ErrorKind::resource).size(), 1U)
      << "one kept program";
}

TEST_F(KernelsTest, AKernelThatTheTextsLackIsABug) {
  Kernels kernels(toolchain());
  EXPECT_THROW(kernels.start("draws.cuh", "draw_masque<float>", {1, 32}, nullptr),
               std::logic_error);
}

}  // namespace
}  // namespace moe::kernels::cuda
