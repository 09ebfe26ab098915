// Cross-entropy on the device against sums in double.

#include "kernels/cuda/loss.cuh"

#include "orders.h"

namespace moe::kernels::cuda {
namespace {

using cuda_on_cpu::launch;

constexpr std::pair<Index, Index> kLossShapes[] = {{1, 1}, {7, 5}, {5, 65}, {3, 300}};  // N, V
constexpr unsigned kLossThreads = 64;
constexpr double kLossGradient = 1.5;  // of the mean loss

/// Logits of which some are far apart, targets of which every third does not count.
template <class T>
struct Predictions {
  Predictions(Index count, Index of_each) : tokens(count), symbols(of_each) {
    for (std::size_t i = 0; i < logits.size(); i += 7) logits[i] *= 20;
    for (Index n = 0; n < tokens; ++n) targets.push_back(n % 3 == 2 ? -1 : n * 5 % symbols);
    for (const auto target : targets) counted += target >= 0;
  }
  double logit(Index n, Index v) const {
    return static_cast<double>(logits[static_cast<std::size_t>(n * symbols + v)]);
  }
  double log_sum(Index n) const {
    double sum = 0;
    for (Index v = 0; v < symbols; ++v) sum += std::exp(logit(n, v));
    return std::log(sum);
  }
  Index target(Index n) const { return targets[static_cast<std::size_t>(n)]; }

  Index tokens, symbols, counted = 0;
  std::vector<Index> targets;
  std::vector<T> logits = random_values<T>(tokens * symbols, 6);
};

template <class T>
struct Losses {
  explicit Losses(const Predictions<T>& p, unsigned seed)
      : largest(unwritten<T>(p.tokens)),
        totals(unwritten<double>(p.tokens)),
        losses(unwritten<double>(p.tokens)) {
    launch(static_cast<unsigned>(p.tokens), kLossThreads, seed, [&] {
      cross_entropy(p.logits.data(), p.targets.data(), p.symbols, largest.data(), totals.data(),
                    losses.data());
    });
    launch(1, kLossThreads, seed, [&] {
      mean_loss(losses.data(), p.targets.data(), p.tokens, mean.data(), counted.data());
    });
  }
  auto parts() const { return std::tuple(largest, totals, losses, mean, counted); }

  std::vector<T> largest;
  std::vector<double> totals, losses, mean{0};
  std::vector<Index> counted{0};
};

template <class T>
class CudaLoss : public ::testing::Test {};
TYPED_TEST_SUITE(CudaLoss, FloatTypes);

TYPED_TEST(CudaLoss, OfEachTokenAndTheirMeanCountWhatHasATarget) {
  for (const auto& [tokens, symbols] : kLossShapes) {
    const Predictions<TypeParam> p(tokens, symbols);
    const auto got =
        in_every_order([&](unsigned seed) { return Losses<TypeParam>(p, seed).parts(); });
    std::vector<double> want;
    double sum = 0;
    for (Index n = 0; n < tokens; ++n) {
      want.push_back(p.target(n) < 0 ? 0 : p.log_sum(n) - p.logit(n, p.target(n)));
      sum += want.back();
    }
    expect_near(std::get<2>(got), want, kNear<TypeParam>);
    expect_near(std::get<3>(got), std::vector<double>{sum / static_cast<double>(p.counted)},
                kNear<TypeParam>);
    EXPECT_EQ(std::get<4>(got).front(), p.counted);
  }
}

TYPED_TEST(CudaLoss, WithoutATargetTheMeanIsZeroAndNoLogitHasAGradient) {
  Predictions<TypeParam> p(2, 9);
  p.targets = {-1, -1};
  const Losses<TypeParam> losses(p, 1);
  EXPECT_EQ(losses.mean.front(), 0);
  EXPECT_EQ(losses.counted.front(), 0);
  auto d_logits = unwritten<TypeParam>(18);
  launch(2, kLossThreads, 1, [&] {
    cross_entropy_backward(p.logits.data(), p.targets.data(), p.symbols, losses.largest.data(),
                           losses.totals.data(), &kLossGradient, losses.counted.data(),
                           d_logits.data());
  });
  EXPECT_EQ(d_logits, std::vector<TypeParam>(18, 0));
}

TYPED_TEST(CudaLoss, GradientsAreProbabilitiesLessTheTargetOverWhatCounts) {
  for (const auto& [tokens, symbols] : kLossShapes) {
    const Predictions<TypeParam> p(tokens, symbols);
    const Losses<TypeParam> losses(p, 1);
    const auto d_logits = in_every_order([&](unsigned seed) {
      auto to = p.logits;
      launch(static_cast<unsigned>(p.tokens), kLossThreads, seed, [&] {
        cross_entropy_backward(to.data(), p.targets.data(), p.symbols, losses.largest.data(),
                               losses.totals.data(), &kLossGradient, losses.counted.data(),
                               to.data());
      });
      return to;
    });
    std::vector<double> want;
    for (Index n = 0; n < tokens; ++n)
      for (Index v = 0; v < symbols; ++v) {
        const double less = std::exp(p.logit(n, v) - p.log_sum(n)) - (v == p.target(n));
        want.push_back(p.target(n) < 0 ? 0 : less * kLossGradient / static_cast<double>(p.counted));
      }
    expect_near(d_logits, want, kNear<TypeParam>);
  }
}

}  // namespace
}  // namespace moe::kernels::cuda
