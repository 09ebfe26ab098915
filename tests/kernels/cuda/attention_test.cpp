// Attention on the device against the heads of the CPU: the same masks, the same numbers.

#include "kernels/cuda/attention.cuh"

#include "cpu_twin.h"
#include "moe/base/random.h"
#include "orders.h"

namespace moe::kernels::cuda {
namespace {

using cuda_on_cpu::launch;

struct AttentionCase {
  const char* name;
  int windows, time, heads, head_size;
  double score_scale;
  bool drops;
};
constexpr AttentionCase kAttentionCases[] = {
    {"one token of one value", 1, 1, 1, 1, 1, false},
    {"less than a tile", 2, 5, 3, 6, 0.4, true},
    {"whole tiles", 2, 32, 2, 16, 0.25, true},
    {"no whole tiles", 1, 45, 2, 33, 0.17, true},
    {"the largest heads", 1, 70, 1, kMostHeadSize, 0.05, false},
    {"one weight is nearly all", 1, 40, 2, 8, 5, true},
    {"many tiles", 1, 130, 1, 10, 0.3, true}};
/// Sums of up to 130 products of sums of 64: float keeps five digits of them.
template <class T>
constexpr double kAttentionNear = 4 * kNear<T>;

/// What of a CPU's layer the test has to see.
template <class T>
struct TwinPlaces : twin::AttentionPlaces<T> {
  using Places = twin::AttentionPlaces<T>;
  using Places::keys_of, Places::Places;
};

/// One layer's queries, keys and values, and the gradients of what its heads answer.
template <class T>
struct AttentionWorld {
  explicit AttentionWorld(const AttentionCase& shape) : c(shape) {
    for (Index n = 0; n < tokens(); ++n) {
      sequence.push_back(n / c.time + 7);
      position.push_back(n % c.time + 3);
    }
    twin_sequence.assign(sequence.begin(), sequence.end());
    twin_position.assign(position.begin(), position.end());
    qkv = random_values<T>(tokens() * 3 * width(), 1);
    d_mixed = random_values<T>(tokens() * width(), 2);
  }
  Index tokens() const { return Index{c.windows} * c.time; }
  Index width() const { return Index{c.heads} * c.head_size; }
  unsigned blocks() const { return static_cast<unsigned>(c.windows * c.heads); }

  Attention<T> layer() const {
    return {c.time,
            c.heads,
            c.head_size,
            c.score_scale,
            {{sequence.data(), position.data(), &key, 9}, kThreshold, kScale},
            c.drops,
            qkv.data()};
  }

  static constexpr Word kThreshold = static_cast<Word>(0.3 * 0x1p32);
  static constexpr double kScale = 1 / 0.7;
  AttentionCase c;
  Key key = stream_key(3, "dropout", 5);
  std::vector<Index> sequence, position;
  std::vector<std::int64_t> twin_sequence, twin_position;
  std::vector<T> qkv, d_mixed;  // (N, 3C), (N, C)
};

/// Forward and backward by the heads of the CPU.
template <class T>
struct AttentionTwin {
  explicit AttentionTwin(const AttentionWorld<T>& world) {
    cpu::Attention<T> layer{};
    layer.windows = world.c.windows;
    layer.time = world.c.time;
    layer.width = world.width();
    layer.heads = world.c.heads;
    layer.score_scale = world.c.score_scale;
    layer.keys = {world.twin_sequence.data(), world.twin_position.data()};
    layer.weights_dropout = {world.key, 9, AttentionWorld<T>::kThreshold, AttentionWorld<T>::kScale,
                             world.c.drops};
    const Index lanes = layer.windows * layer.panels() * cpu::kPanel;
    std::vector<T> panels(at(lanes * 3 * layer.width)), d_panels(panels.size());
    std::vector<T> answers(at(lanes * layer.width)), most(at(lanes * layer.heads)), scale(most);
    layer.qkv_panels = panels.data();
    layer.d_qkv = d_panels.data();
    layer.mixed = answers.data();
    layer.softmax_max = most.data();
    layer.softmax_scale = scale.data();
    const Index c = layer.width;
    for_each_token(layer, [&](Index n, Index place, Index lane) {
      for (Index i = 0; i < 3 * c; ++i)
        panels[at((place * 3 * c + i) * cpu::kPanel + lane)] = world.qkv[at(n * 3 * c + i)];
      for (Index i = 0; i < c; ++i)
        d_panels[at((place * 3 * c + i) * cpu::kPanel + lane)] = world.d_mixed[at(n * c + i)];
    });
    run(layer);
    for_each_token(layer, [&](Index, Index place, Index lane) {
      for (Index i = 0; i < c; ++i)
        mixed.push_back(answers[at((place * c + i) * cpu::kPanel + lane)]);
      for (Index i = 0; i < 3 * c; ++i)
        d_qkv.push_back(d_panels[at((place * 3 * c + i) * cpu::kPanel + lane)]);
    });
  }
  static void run(const cpu::Attention<T>& layer) {
    std::vector<T> scratch(at(twin::AttentionHead<T>::scratch_size(layer)));
    for (Index w = 0; w < layer.windows; ++w)
      for (Index h = 0; h < layer.heads; ++h) {
        twin::AttentionHead<T> head(layer, w, h, scratch.data());
        for (Index p = 0; p < layer.panels(); ++p)
          head.attend(p, TwinPlaces<T>(layer, w).keys_of(p));
        head.backward();
      }
  }
  template <class Use>
  static void for_each_token(const cpu::Attention<T>& layer, const Use& use) {
    for (Index w = 0; w < layer.windows; ++w)
      for (Index t = 0; t < layer.time; ++t)
        use(w * layer.time + t, w * layer.panels() + t / cpu::kPanel, t % cpu::kPanel);
  }

  std::vector<T> mixed, d_qkv;  // (N, C), (N, 3C)
};

/// mixed and log_sums.
template <class T>
auto attended(const AttentionWorld<T>& world) {
  return in_every_order([&](unsigned seed) {
    auto mixed = unwritten<T>(world.tokens() * world.width());
    auto log_sums = unwritten<T>(world.tokens() * world.c.heads);
    launch(world.blocks(), kAttentionThreads, seed,
           [&] { attend(world.layer(), mixed.data(), log_sums.data()); });
    return std::tuple(mixed, log_sums);
  });
}

template <class T>
class CudaAttention : public ::testing::Test {};
TYPED_TEST_SUITE(CudaAttention, FloatTypes);

TYPED_TEST(CudaAttention, HeadsAnswerAndHandGradientsBackAsThoseOfTheCpu) {
  for (const auto& shape : kAttentionCases) {
    SCOPED_TRACE(shape.name);
    const AttentionWorld<TypeParam> world(shape);
    const auto [mixed, log_sums] = attended(world);
    const AttentionTwin<TypeParam> want(world);
    expect_near(mixed, want.mixed, kAttentionNear<TypeParam>);
    const AttentionAnswers<TypeParam> answers{mixed.data(), log_sums.data(), world.d_mixed.data()};
    const auto d_qkv = in_every_order([&](unsigned seed) {
      auto to = unwritten<TypeParam>(world.tokens() * 3 * world.width());
      launch(world.blocks(), kAttentionThreads, seed,
             [&] { attend_backward(world.layer(), answers, to.data()); });
      return to;
    });
    expect_near(d_qkv, want.d_qkv, kAttentionNear<TypeParam>);
  }
}

TYPED_TEST(CudaAttention, AnAnswerDoesNotDependOnLaterTokens) {
  AttentionWorld<TypeParam> world({"", 1, 40, 1, 8, 0.3, true});
  const auto before = std::get<0>(attended(world));
  constexpr Index kChanged = 35;
  for (Index i = kChanged * 3 * world.width(); i < world.tokens() * 3 * world.width(); ++i)
    world.qkv[at(i)] += 1000;
  const auto after = std::get<0>(attended(world));
  for (Index i = 0; i < world.tokens() * world.width(); ++i)
    ASSERT_EQ(before[at(i)] == after[at(i)], i < kChanged * world.width()) << i;
}

TEST(CudaAttentionRoom, IsForHeadsOfSixtyFourValuesAtMost) {
  EXPECT_TRUE(can_attend(1));
  EXPECT_TRUE(can_attend(64));
  EXPECT_FALSE(can_attend(65));
  EXPECT_FALSE(can_attend(0));
}

}  // namespace
}  // namespace moe::kernels::cuda
