// What blocks read past those before them, on the device against the CPU; rows of n-gram tables
// against loops token by token.

#include "kernels/cuda/skip.cuh"

#include "cpu_twin.h"
#include "kernels/cuda/ngrams.cuh"
#include "kernels/cuda/sums.cuh"
#include "orders.h"

namespace moe::kernels::cuda {
namespace {

using cuda_on_cpu::launch;

constexpr std::pair<Index, Index> kSkipShapes[] = {{1, 1}, {7, 37}, {50, 170}};  // N, C
/// Sums of thousands of products, whose terms nearly cancel, and may be some tens.
template <class T>
constexpr double kSkipNear = 10 * kNear<T>;

struct SkipKind {
  const char* name;
  bool stream, ngrams, begins, ends;
};
constexpr SkipKind kSkipKinds[] = {{"nothing but x", false, false, true, false},
                                   {"the last block", true, true, true, false},
                                   {"a block between", true, true, false, false},
                                   {"the first block", true, true, false, true},
                                   {"tables alone", false, true, false, true},
                                   {"the stream alone, of one block", true, false, true, true}};

template <class T>
struct SkipWorld {
  SkipWorld(Index tokens_, Index width_, const SkipKind& its_kind)
      : tokens(tokens_), width(width_), kind(its_kind) {}
  Index count() const { return tokens * width; }
  unsigned stretches() const { return static_cast<unsigned>(pieces(count(), kSkipStretch)); }
  Skip<T> skip() const {
    return {count(),
            x.data(),
            kind.stream ? stream.data() : nullptr,
            kind.ngrams ? ngrams.data() : nullptr,
            kind.stream ? &weights[0] : nullptr,  // as x has no weight without a stream
            &weights[1],
            &weights[2]};
  }
  cpu::Skip<T> twin_skip() const {
    cpu::Skip<T> skip{};
    skip.tokens = tokens;
    skip.width = width;
    skip.resid = kind.stream ? weights[0] : T{1};
    skip.stream_weight = weights[1];
    skip.ngram_weight = weights[2];
    skip.x = x.data();
    skip.stream = kind.stream ? stream.data() : nullptr;
    skip.ngrams = kind.ngrams ? ngrams.data() : nullptr;
    return skip;
  }

  Index tokens, width;
  SkipKind kind;
  T weights[3] = {static_cast<T>(0.9), static_cast<T>(-0.4), static_cast<T>(0.3)};
  std::vector<T> x = random_values<T>(count(), 1), stream = random_values<T>(count(), 2);
  std::vector<T> ngrams = random_values<T>(count(), 3), d_out = random_values<T>(count(), 4);
  std::vector<T> d_stream = random_values<T>(count(), 5), d_ngrams = random_values<T>(count(), 6);
};

template <class T, class Check>
void for_each_world(const Check& check) {
  for (const auto& [tokens, width] : kSkipShapes)
    for (const auto& kind : kSkipKinds) {
      SCOPED_TRACE(kind.name);
      check(SkipWorld<T>(tokens, width, kind));
    }
}

template <class T>
class CudaSkip : public ::testing::Test {};
TYPED_TEST_SUITE(CudaSkip, FloatTypes);

TYPED_TEST(CudaSkip, ABlockReadsWhatItReadsOnTheCpu) {
  for_each_world<TypeParam>([](const SkipWorld<TypeParam>& world) {
    const auto got = in_every_order([&](unsigned seed) {
      auto to = world.x;
      auto skip = world.skip();
      skip.x = to.data();
      launch(2, 64, seed, [&] { enter_block(skip, to.data()); });
      return to;
    });
    auto want = unwritten<TypeParam>(world.count());
    auto skip = world.twin_skip();
    skip.out = want.data();
    for (Index p = 0; p < cpu::panels_of(world.tokens); ++p) twin::skip_forward(skip, p);
    expect_near(got, want, kNear<TypeParam>);
  });
}

/// d_x, d_stream, d_ngrams, and the gradients of the three weights.
template <class T>
using Gradients = std::tuple<std::vector<T>, std::vector<T>, std::vector<T>, std::vector<T>>;

template <class T>
Gradients<T> backward_of_twin(const SkipWorld<T>& world) {
  auto d_x = unwritten<T>(world.count());
  auto d_stream = world.d_stream, d_ngrams = world.d_ngrams;
  const Index panels = cpu::panels_of(world.tokens);
  std::vector<double> parts(at(panels * 3));
  auto skip = world.twin_skip();
  skip.d_out = world.d_out.data();
  skip.d_x = d_x.data();
  skip.d_stream = d_stream.data();
  skip.d_ngrams = d_ngrams.data();
  skip.begins = world.kind.begins;
  skip.ends = world.kind.ends;
  skip.parts = parts.data();
  std::vector<T> d_weights(3);
  for (Index p = 0; p < panels; ++p) {
    twin::skip_backward(skip, p);
    for (Index i = 0; i < 3; ++i) d_weights[at(i)] += static_cast<T>(parts[at(p * 3 + i)]);
  }
  return {d_x, d_stream, d_ngrams, d_weights};
}

template <class T>
Gradients<T> backward_in_order(const SkipWorld<T>& world, unsigned seed) {
  auto d_x = world.d_out, d_stream = world.d_stream, d_ngrams = world.d_ngrams;
  auto parts = unwritten<double>(world.stretches() * 3);
  auto d_weights = unwritten<T>(3);
  launch(world.stretches(), kSkipThreads, seed, [&] {
    enter_block_backward(world.skip(),
                         {d_x.data(), d_stream.data(), d_ngrams.data(), world.kind.begins,
                          world.kind.ends, d_x.data(), parts.data()});
  });
  launch(1, 96, seed, [&] {
    sum_stretches(parts.data(), world.stretches(), 3, 3, /*adds=*/false, d_weights.data());
  });
  return {d_x, d_stream, d_ngrams, d_weights};
}

TYPED_TEST(CudaSkip, GradientsAreSummedUpAsOnTheCpu) {
  for_each_world<TypeParam>([](const SkipWorld<TypeParam>& world) {
    const auto got = in_every_order([&](unsigned seed) { return backward_in_order(world, seed); });
    const auto want = backward_of_twin(world);
    expect_near(std::get<0>(got), std::get<0>(want), kNear<TypeParam>);
    expect_near(std::get<1>(got), std::get<1>(want), kNear<TypeParam>);
    expect_near(std::get<2>(got), std::get<2>(want), kNear<TypeParam>);
    expect_near(std::get<3>(got), std::get<3>(want), kSkipNear<TypeParam>);
  });
}

TYPED_TEST(CudaSkip, ALayersAnswerJoinsTheStreamAfterDropout) {
  constexpr Index kTokens = 9, kWidth = 37;
  const Key key = 77;
  const std::vector<Index> sequence(kTokens, 3), position{0, 1, 2, 3, 4, 5, 6, 7, 8};
  const Dropout dropout{{sequence.data(), position.data(), &key, 4}, Word{1} << 31, 2};
  const auto x = random_values<TypeParam>(kTokens * kWidth, 1);
  const auto y = random_values<TypeParam>(kTokens * kWidth, 2);
  for (const bool drops : {false, true}) {
    const auto got = in_every_order([&](unsigned seed) {
      auto to = x;
      launch(2, 32, seed, [&] {
        add_residual(dropout, drops, kTokens, kWidth, to.data(), y.data(), to.data());
      });
      return to;
    });
    auto want = y;
    if (drops) launch(1, 32, 1, [&] { drop(dropout, kTokens, kWidth, y.data(), want.data()); });
    for (Index i = 0; i < kTokens * kWidth; ++i) want[at(i)] += x[at(i)];
    expect_near(got, want, kNear<TypeParam>);
  }
}

TEST(CudaNgrams, RowsAreThoseOfTheRunThatEndsWithATokenWithinItsWindow) {
  constexpr Index kTime = 7, kSymbols = 3;
  const std::vector<Index> ids{0, 1, 2, 2, 1, 0, 0, 1, 0, 1, 2, 0, 0, 0};
  // The second window begins with a 1 behind a 0. Digits to the base 4: (0, 1), (1, 2), (2, 1),
  // (outside, 0).
  const std::vector<Index> runs{1, 6, 9, 12};
  const auto got = in_every_order([&](unsigned seed) {
    auto to = unwritten<Index>(static_cast<Index>(ids.size()));
    launch(1, 32, seed, [&] {
      find_ngrams({2, kSymbols, static_cast<Index>(runs.size()), runs.data()}, ids.data(),
                  static_cast<Index>(ids.size()), kTime, to.data());
    });
    return to;
  });
  EXPECT_EQ(got, (std::vector<Index>{3, 0, 1, -1, 2, -1, -1, -1, -1, 0, 1, -1, -1, -1}));
}

TYPED_TEST(CudaSkip, RowsOfTablesAreAddedUpAndATokenWithoutOneHasZeros) {
  constexpr Index kTokens = 70, kWidth = 40, kRows = 5;
  const auto first = random_values<TypeParam>(kRows * kWidth, 1);
  const auto second = random_values<TypeParam>(kRows * kWidth, 2);
  std::vector<Index> rows, others;
  for (Index n = 0; n < kTokens; ++n) {
    rows.push_back(n % 4 == 0 ? -1 : n % kRows);
    others.push_back(n % 3 == 0 ? -1 : n * n % kRows);
  }
  const auto got = in_every_order([&](unsigned seed) {
    auto to = unwritten<TypeParam>(kTokens * kWidth);
    launch(3, 64, seed,
           [&] { add_rows(rows.data(), first.data(), kTokens, kWidth, false, to.data()); });
    launch(3, 64, seed,
           [&] { add_rows(others.data(), second.data(), kTokens, kWidth, true, to.data()); });
    return to;
  });
  std::vector<double> want;
  for (Index i = 0; i < kTokens * kWidth; ++i) {
    const Index row = rows[at(i / kWidth)], other = others[at(i / kWidth)];
    double sum = 0;
    if (row >= 0) sum += static_cast<double>(first[at(row * kWidth + i % kWidth)]);
    if (other >= 0) sum += static_cast<double>(second[at(other * kWidth + i % kWidth)]);
    want.push_back(sum);
  }
  expect_near(got, want, kNear<TypeParam>);
}

}  // namespace
}  // namespace moe::kernels::cuda
