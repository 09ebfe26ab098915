// Draws on the device are those of the CPU: the same words, the same masks, the same noise.

#include "kernels/cuda/draws.cuh"

#include "cpu_twin.h"
#include "moe/base/random.h"
#include "orders.h"

namespace moe::kernels::cuda {
namespace {

using cuda_on_cpu::launch;

constexpr Word kSite = 0x40000007U;
/// The last digits of logarithm, sine and cosine differ from those of the CPU's own polynomials.
template <class T>
constexpr double kNormalsNear = sizeof(T) == sizeof(float) ? 1e-6 : 1e-13;

/// Some tokens of several windows; places and windows are beyond 32 bits, of which draws see the
/// lower half.
struct Rows {
  explicit Rows(Index rows, Index draws) : count(rows), width(draws) {
    for (Index n = 0; n < rows; ++n) {
      sequence.push_back(n / 5 + (Index{7} << 32));
      position.push_back(n % 5 + 1000 + (Index{3} << 33));
    }
    twin_sequence.assign(sequence.begin(), sequence.end());
    twin_position.assign(position.begin(), position.end());
  }
  Draws draws() const { return {sequence.data(), position.data(), &key, kSite}; }
  cpu::TokenKeys keys() const { return {twin_sequence.data(), twin_position.data()}; }

  Index count, width;
  Key key = stream_key(11, "dropout", 3);
  std::vector<Index> sequence, position;
  std::vector<std::int64_t> twin_sequence, twin_position;  // another type, of the same size
};

/// Shapes (N, W): less than a block of words, not whole ones, more than a grid of threads.
std::vector<Rows> cases() {
  return {Rows(1, 1), Rows(7, 6), Rows(16, 64), Rows(33, 131), Rows(3, 1024)};
}

Dropout dropout_of(const Rows& rows, double p) {
  return {rows.draws(), static_cast<Word>(p * 0x1p32), 1 / (1 - p)};
}

Word word_of(const Rows& rows, Index row, Index w) {
  const auto n = static_cast<std::size_t>(row);
  return philox4x32({static_cast<Word>(w / 4), static_cast<Word>(rows.position[n]),
                     static_cast<Word>(rows.sequence[n]), kSite},
                    rows.key)[static_cast<std::size_t>(w % 4)];
}

template <class T>
std::vector<T> mask_of(const Rows& rows, const Dropout& dropout) {
  return in_every_order([&](unsigned seed) {
    auto to = unwritten<T>(rows.count * rows.width);
    launch(3, 64, seed, [&] { draw_mask<T>(dropout, rows.count, rows.width, to.data()); });
    return to;
  });
}

TEST(CudaDraws, WordsAreThoseOfTheCounter) {
  for (const auto& rows : cases()) {
    const auto drawn = in_every_order([&](unsigned seed) {
      auto to = unwritten<Word>(rows.count * rows.width);
      launch(3, 64, seed, [&] { draw_words(rows.draws(), rows.count, rows.width, to.data()); });
      return to;
    });
    for (Index n = 0; n < rows.count; ++n)
      for (Index w = 0; w < rows.width; ++w)
        ASSERT_EQ(drawn[static_cast<std::size_t>(n * rows.width + w)], word_of(rows, n, w));
  }
}

TEST(CudaDraws, AKeyInMemoryThatChangesDrawsAnew) {
  Rows rows(4, 8);
  const auto draws = rows.draws();
  std::vector<Word> first(32), second(32);
  launch(1, 32, 1, [&] { draw_words(draws, rows.count, rows.width, first.data()); });
  ++rows.key;
  launch(1, 32, 1, [&] { draw_words(draws, rows.count, rows.width, second.data()); });
  for (std::size_t i = 0; i < first.size(); ++i) EXPECT_NE(first[i], second[i]);
}

template <class T>
class CudaDrawsOf : public ::testing::Test {};
TYPED_TEST_SUITE(CudaDrawsOf, FloatTypes);

TYPED_TEST(CudaDrawsOf, MasksAreZeroBelowTheThresholdAndTheScaleElsewhere) {
  for (const auto& rows : cases())
    for (const double p : {0.0, 0.1, 0.5, 0.99}) {
      const auto dropout = dropout_of(rows, p);
      const auto mask = mask_of<TypeParam>(rows, dropout);
      for (Index i = 0; i < rows.count * rows.width; ++i) {
        const bool keeps = word_of(rows, i / rows.width, i % rows.width) >= dropout.threshold;
        ASSERT_EQ(mask[static_cast<std::size_t>(i)],
                  keeps ? static_cast<TypeParam>(1 / (1 - p)) : TypeParam{0});
      }
    }
}

TYPED_TEST(CudaDrawsOf, AWordThatIsTheThresholdKeepsItsValue) {
  const Rows rows(2, 4);
  auto dropout = dropout_of(rows, 0.5);
  dropout.threshold = word_of(rows, 0, 0);
  EXPECT_EQ(mask_of<TypeParam>(rows, dropout)[0], TypeParam{2});
  ++dropout.threshold;
  EXPECT_EQ(mask_of<TypeParam>(rows, dropout)[0], TypeParam{0});
}

TYPED_TEST(CudaDrawsOf, ValuesAreDroppedAsTheCpuDropsThem) {
  for (const auto& rows : cases()) {
    const auto dropout = dropout_of(rows, 0.3);
    const auto from = random_values<TypeParam>(rows.count * rows.width, 5);
    const auto dropped = in_every_order([&](unsigned seed) {
      auto values = from;
      launch(2, 32, seed,
             [&] { drop(dropout, rows.count, rows.width, values.data(), values.data()); });
      return values;
    });
    auto want = from;
    const cpu::Dropout cpu_dropout{rows.key, kSite, dropout.threshold, dropout.scale, true};
    std::vector<TypeParam> scratch(static_cast<std::size_t>(rows.width * cpu::kPanel));
    for (Index first = 0; first < rows.count; first += cpu::kPanel)
      twin::drop_rows<TypeParam>(cpu_dropout, rows.keys(), first,
                                 std::min<Index>(cpu::kPanel, rows.count - first), rows.width,
                                 want.data() + first * rows.width, scratch.data());
    EXPECT_TRUE(same_bits(dropped, want));
  }
}

TYPED_TEST(CudaDrawsOf, JitterIsThatOfTheCpu) {
  constexpr double kReach = 0.2;
  for (const auto& rows : cases()) {
    const auto from = random_values<TypeParam>(rows.count * rows.width, 5);
    const auto jittered = in_every_order([&](unsigned seed) {
      auto to = unwritten<TypeParam>(rows.count * rows.width);
      launch(2, 32, seed,
             [&] { jitter(rows.draws(), kReach, rows.count, rows.width, from.data(), to.data()); });
      return to;
    });
    cpu::Mixture<TypeParam> layer{};
    layer.width = rows.width;
    layer.keys = rows.keys();
    layer.jitter = {rows.key, kSite, kReach};
    auto want = from;
    std::vector<TypeParam> panel(static_cast<std::size_t>(rows.width * cpu::kPanel));
    for (Index first = 0; first < rows.count; first += cpu::kPanel) {
      const Index count = std::min<Index>(cpu::kPanel, rows.count - first);
      const auto row = [&](Index i) { return want.data() + (first + i) * rows.width; };
      twin::rows_to_panel<TypeParam>(count, rows.width, row, panel.data());
      twin::jitter_panel(layer, first, count, panel.data());
      twin::panel_to_rows<TypeParam>(panel.data(), count, rows.width, row);
    }
    EXPECT_TRUE(same_bits(jittered, want));
  }
}

TYPED_TEST(CudaDrawsOf, NoiseIsThatOfTheCpu) {
  for (const auto& rows : cases()) {
    const auto drawn = in_every_order([&](unsigned seed) {
      auto to = unwritten<TypeParam>(rows.count * rows.width);
      launch(3, 64, seed, [&] { draw_normals(rows.draws(), rows.count, rows.width, to.data()); });
      return to;
    });
    auto want = unwritten<TypeParam>(rows.count * rows.width);
    twin::normal_rows<TypeParam>({rows.key, kSite}, rows.keys(), rows.count, rows.width,
                                 want.data());
    expect_near(drawn, want, kNormalsNear<TypeParam>);
  }
}

}  // namespace
}  // namespace moe::kernels::cuda
