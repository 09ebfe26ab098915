// The kernels of an attention layer one after another, as an engine starts them, with products of
// matrices by plain loops: its outcome and all its gradients against the layer of the CPU.

#include "cpu_twin.h"
#include "kernels/cuda/convolution.cuh"
#include "kernels/cuda/norm.cuh"
#include "kernels/cuda/query_key.cuh"
#include "kernels/cuda/skip.cuh"
#include "kernels/cuda/sums.cuh"
#include "moe/base/random.h"
#include "orders.h"

namespace moe::kernels::cuda {
namespace {

using cuda_on_cpu::launch;
using Values = std::vector<double>;

constexpr int kWindows = 2, kTime = 21, kHeads = 3, kSize = 6, kTaps = 3;
constexpr Index kLayerTokens = Index{kWindows} * kTime, kLayerWidth = Index{kHeads} * kSize;
constexpr double kNormEps = 1e-5, kMeetNormEps = 1e-6, kScoreScale = 0.4;
constexpr Word kDropBelow = Word{1} << 30;
constexpr double kKeptScale = 4.0 / 3;

/// What both are given.
struct AttentionLayer {
  AttentionLayer() {
    for (Index n = 0; n < kLayerTokens; ++n) {
      sequence.push_back(n / kTime);
      position.push_back(n % kTime);
    }
    twin_sequence.assign(sequence.begin(), sequence.end());
    twin_position.assign(position.begin(), position.end());
  }
  Dropout dropout(Word site) const {
    return {{sequence.data(), position.data(), &key, site}, kDropBelow, kKeptScale};
  }

  Key key = stream_key(3, "train", 5);
  std::vector<Index> sequence, position;
  std::vector<std::int64_t> twin_sequence, twin_position;
  Values x = random_values<double>(kLayerTokens * kLayerWidth, 1);
  Values d_out = random_values<double>(kLayerTokens * kLayerWidth, 2);
  Values norm_weight = random_values<double>(kLayerWidth, 3);
  Values norm_bias = random_values<double>(kLayerWidth, 4);
  Values conv = random_values<double>(kLayerWidth * kTaps, 5);
  Values qkv = random_values<double>(3 * kLayerWidth * kLayerWidth, 6);
  Values gains = random_values<double>(2 * kSize, 7);
  Values angles = random_values<double>(kTime * kSize, 8);
  Values proj = random_values<double>(kLayerWidth * kLayerWidth, 9);
  Values proj_bias = random_values<double>(kLayerWidth, 10);
};

/// What both yield; gradients of parameters by their names.
struct AttentionOutcome {
  Values out = unwritten<double>(kLayerTokens * kLayerWidth), d_x = out;
  Values norm_weight = unwritten<double>(kLayerWidth), norm_bias = norm_weight,
         proj_bias = norm_weight;
  Values conv = unwritten<double>(kLayerWidth * kTaps);
  Values qkv = unwritten<double>(3 * kLayerWidth * kLayerWidth),
         proj = unwritten<double>(kLayerWidth * kLayerWidth);
  Values gains = unwritten<double>(2 * kSize);
};

/// to (M, N) = the sum over k of left(m, k) right(k, n).
template <class Left, class Right>
Values product(Index rows, Index columns, Index depth, const Left& left, const Right& right) {
  Values to;
  for (Index m = 0; m < rows; ++m)
    for (Index n = 0; n < columns; ++n) {
      double sum = 0;
      for (Index k = 0; k < depth; ++k) sum += left(m, k) * right(k, n);
      to.push_back(sum);
    }
  return to;
}
auto by_rows(const Values& matrix, Index columns) {
  return [&matrix, columns](Index i, Index j) { return matrix[at(i * columns + j)]; };
}
auto by_columns(const Values& matrix, Index columns) {
  return [&matrix, columns](Index i, Index j) { return matrix[at(j * columns + i)]; };
}

class WayOfAttention {
 public:
  WayOfAttention(const AttentionLayer& layer, unsigned seed) : l_(layer), seed_(seed) {
    forward();
    backward();
  }
  AttentionOutcome to;

 private:
  static constexpr unsigned kGrid = 3, kThreads = 64;
  void run(Index grid, unsigned threads, const std::function<void()>& kernel) {
    launch(static_cast<unsigned>(grid), threads, seed_, kernel);
  }
  Norm<double> norm() {
    return {l_.norm_weight.data(), l_.norm_bias.data(), true, kNormEps,
            mean_.data(),          inverse_.data()};
  }
  Convolution<double> conv() const {
    return {kLayerTokens, kLayerWidth, kTime, kTaps, l_.conv.data()};
  }
  MeetStage<double> meeting() const {
    return {
        kLayerTokens,     kTime,   kHeads,  kSize, l_.gains.data(), &l_.gains[kSize], kMeetNormEps,
        l_.angles.data(), nullptr, nullptr, 0};
  }
  Attention<double> heads() const {
    return {kTime, kHeads, kSize, kScoreScale, l_.dropout(1), true, met_.data()};
  }
  void add_up(const Values& parts, Index stretches, Index stride, Values& sum) {
    run(kGrid, kThreads, [&] {
      sum_stretches(parts.data(), stretches, stride, static_cast<Index>(sum.size()), false,
                    sum.data());
    });
  }

  void forward() {
    run(kLayerTokens, kThreads,
        [&] { normalise(norm(), l_.x.data(), kLayerWidth, normed_.data()); });
    run(kGrid, kThreads, [&] { convolve(conv(), normed_.data(), read_.data()); });
    qkv_ = product(kLayerTokens, 3 * kLayerWidth, kLayerWidth, by_rows(read_, kLayerWidth),
                   by_columns(l_.qkv, kLayerWidth));
    run(kGrid, kThreads, [&] { meet(meeting(), qkv_.data(), met_.data()); });
    run(kWindows * kHeads, kAttentionThreads,
        [&] { attend(heads(), mixed_.data(), log_sums_.data()); });
    auto answer = product(kLayerTokens, kLayerWidth, kLayerWidth, by_rows(mixed_, kLayerWidth),
                          by_columns(l_.proj, kLayerWidth));
    for (Index i = 0; i < kLayerTokens * kLayerWidth; ++i)
      answer[at(i)] += l_.proj_bias[at(i % kLayerWidth)];
    run(kGrid, kThreads, [&] {
      add_residual(l_.dropout(2), true, kLayerTokens, kLayerWidth, l_.x.data(), answer.data(),
                   to.out.data());
    });
  }

  void backward() {
    auto d_answer = unwritten<double>(kLayerTokens * kLayerWidth);
    run(kGrid, kThreads,
        [&] { drop(l_.dropout(2), kLayerTokens, kLayerWidth, l_.d_out.data(), d_answer.data()); });
    const auto d_mixed = product(kLayerTokens, kLayerWidth, kLayerWidth,
                                 by_rows(d_answer, kLayerWidth), by_rows(l_.proj, kLayerWidth));
    to.proj = product(kLayerWidth, kLayerWidth, kLayerTokens, by_columns(d_answer, kLayerWidth),
                      by_rows(mixed_, kLayerWidth));
    to.proj_bias = product(
        1, kLayerWidth, kLayerTokens, [](Index, Index) { return 1.0; },
        by_rows(d_answer, kLayerWidth));
    auto d_qkv = unwritten<double>(kLayerTokens * 3 * kLayerWidth);
    run(kWindows * kHeads, kAttentionThreads, [&] {
      attend_backward(heads(), {mixed_.data(), log_sums_.data(), d_mixed.data()}, d_qkv.data());
    });
    const Index stretches = pieces(kLayerTokens, kMeetTokens);
    auto parts = unwritten<double>(stretches * (2 * kSize + 1));
    run(stretches, kMeetThreads, [&] {
      meet_backward(meeting(), {nullptr, false, false, parts.data()}, qkv_.data(), d_qkv.data());
    });
    add_up(parts, stretches, 2 * kSize + 1, to.gains);
    to.qkv = product(3 * kLayerWidth, kLayerWidth, kLayerTokens, by_columns(d_qkv, 3 * kLayerWidth),
                     by_rows(read_, kLayerWidth));
    read_backward(product(kLayerTokens, kLayerWidth, 3 * kLayerWidth,
                          by_rows(d_qkv, 3 * kLayerWidth), by_rows(l_.qkv, kLayerWidth)));
  }

  void read_backward(const Values& d_read) {
    const Index stretches = pieces(kLayerTokens, kConvolutionTokens);
    auto parts = unwritten<double>(stretches * kLayerWidth * kTaps);
    run(kGrid, kThreads,
        [&] { convolution_gradient_parts(conv(), normed_.data(), d_read.data(), parts.data()); });
    add_up(parts, stretches, kLayerWidth * kTaps, to.conv);
    auto d_normed = unwritten<double>(kLayerTokens * kLayerWidth);
    run(kGrid, kThreads, [&] { convolve_backward(conv(), d_read.data(), d_normed.data()); });
    auto norm_parts = unwritten<double>(pieces(kLayerTokens, kNormRows) * 2 * kLayerWidth);
    run(kGrid, kThreads, [&] {
      norm_gradient_parts(norm(), l_.x.data(), d_normed.data(), kLayerTokens, kLayerWidth,
                          norm_parts.data());
    });
    run(kGrid, kThreads, [&] {
      sum_norm_parts(norm_parts.data(), kLayerTokens, kLayerWidth, false, to.norm_weight.data(),
                     to.norm_bias.data());
    });
    run(kLayerTokens, kThreads, [&] {
      normalise_backward(norm(), l_.x.data(), d_normed.data(), l_.d_out.data(), kLayerWidth,
                         to.d_x.data());
    });
  }

  const AttentionLayer& l_;
  unsigned seed_;
  Values mean_ = unwritten<double>(kLayerTokens), inverse_ = mean_;
  Values normed_ = unwritten<double>(kLayerTokens * kLayerWidth), read_ = normed_, mixed_ = normed_;
  Values qkv_, met_ = unwritten<double>(kLayerTokens * 3 * kLayerWidth);
  Values log_sums_ = unwritten<double>(kLayerTokens * kHeads);
};

/// The layer of the CPU, with all its memory.
class WayOnTheCpu {
 public:
  explicit WayOnTheCpu(const AttentionLayer& l) {
    turn_conv(l);
    layer_.windows = kWindows;
    layer_.time = kTime;
    layer_.width = kLayerWidth;
    layer_.heads = kHeads;
    layer_.score_scale = kScoreScale;
    layer_.keys = {l.twin_sequence.data(), l.twin_position.data()};
    layer_.weights_dropout = {l.key, 1, kDropBelow, kKeptScale, true};
    layer_.output_dropout = {l.key, 2, kDropBelow, kKeptScale, true};
    const Index lanes = kWindows * layer_.panels() * cpu::kPanel, padded = cpu::padded(kLayerWidth);
    layer_.norm = {
        NormKind::layer,    l.norm_weight.data(), l.norm_bias.data(), slot(to.norm_weight),
        slot(to.norm_bias), take(lanes),          take(lanes),        kNormEps};
    layer_.conv = {kTaps,
                   kTime,
                   0,
                   turned_.data(),
                   take(kLayerTokens * padded),
                   slot(to.conv),
                   take(kWindows * kTaps * padded)};
    layer_.qkv = {l.qkv.data(), nullptr, slot(to.qkv), {}};
    layer_.proj = {l.proj.data(), l.proj_bias.data(), slot(to.proj), slot(to.proj_bias)};
    layer_.query_key = {true,
                        true,
                        l.gains.data(),
                        &l.gains[kSize],
                        slot(to.gains),
                        {&to.gains[kSize], false},
                        kMeetNormEps,
                        l.angles.data(),
                        take(lanes * 2 * kLayerWidth),
                        take(kWindows * 2 * kSize)};
    layer_.x = l.x.data();
    layer_.out = to.out.data();
    layer_.normed = take(lanes * padded);
    layer_.qkv_panels = take(lanes * 3 * kLayerWidth);
    layer_.mixed = take(lanes * kLayerWidth);
    layer_.softmax_max = take(lanes * kHeads);
    layer_.softmax_scale = take(lanes * kHeads);
    layer_.d_out = l.d_out.data();
    layer_.d_x = to.d_x.data();
    layer_.d_output = take(lanes * kLayerWidth);
    layer_.d_qkv = take(lanes * 3 * kLayerWidth);
    layer_.mixed_rows = take(lanes * padded);
    layer_.norm_parts = take(kWindows * 2 * padded);
    run();
  }
  AttentionOutcome to;

 private:
  static cpu::GradientSlot<double> slot(Values& values) { return {values.data(), false}; }
  double* take(Index count) {
    memory_.emplace_back(at(count));
    return memory_.back().data();
  }
  void turn_conv(const AttentionLayer& l) {
    turned_.assign(at(kTaps * cpu::padded(kLayerWidth)), 0);
    for (Index i = 0; i < kLayerWidth * kTaps; ++i)
      turned_[at(i % kTaps * cpu::padded(kLayerWidth) + i / kTaps)] = l.conv[at(i)];
  }
  void run() {
    auto* scratch = take(twin::AttentionWindow<double>::scratch_size(layer_));
    for (Index w = 0; w < kWindows; ++w)
      twin::AttentionWindow<double>(layer_, w, scratch).forward();
    for (Index w = 0; w < kWindows; ++w)
      twin::AttentionWindow<double>(layer_, w, scratch).backward();
    for (Index t = 0; t < twin::attention_gradient_tasks(layer_); ++t)
      twin::attention_gradients(layer_, t);
  }

  cpu::Attention<double> layer_{};
  Values turned_;
  std::vector<Values> memory_;
};

TEST(CudaWayOfAttention, OutcomeAndGradientsAreThoseOfTheLayerOfTheCpu) {
  const AttentionLayer layer;
  const auto want = WayOnTheCpu(layer).to;
  for (unsigned seed = 1; seed <= 2; ++seed) {
    const auto got = WayOfAttention(layer, seed).to;
    expect_near(got.out, want.out, kNear<double>);
    expect_near(got.d_x, want.d_x, kNear<double>);
    expect_near(got.norm_weight, want.norm_weight, kNear<double>);
    expect_near(got.norm_bias, want.norm_bias, kNear<double>);
    expect_near(got.conv, want.conv, kNear<double>);
    expect_near(got.qkv, want.qkv, kNear<double>);
    expect_near(got.gains, want.gains, kNear<double>);
    expect_near(got.proj, want.proj, kNear<double>);
    expect_near(got.proj_bias, want.proj_bias, kNear<double>);
  }
}

}  // namespace
}  // namespace moe::kernels::cuda
