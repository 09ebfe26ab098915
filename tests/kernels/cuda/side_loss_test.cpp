// Side losses on the device against those of the CPU: sums, losses, slopes and gradients.

#include "kernels/side_loss.h"

#include "cpu_twin.h"
#include "kernels/cuda/side_gradients.cuh"
#include "orders.h"

namespace moe::kernels::cuda {
namespace {

using cuda_on_cpu::launch;

struct SideCase {
  const char* name;
  Index windows, time;
  int experts, top_k, shared;
  Gate gate;
  bool noisy;
  SideWeights weights;
};
constexpr SideCase kSideCases[] = {
    {"all of them", 3, 5, 8, 2, 1, Gate::topk_softmax, true, {0.1, 0.2, 0.3, 0.4}},
    {"more experts than lanes", 2, 3, 75, 34, 0, Gate::softmax_topk, true, {0.1, 0, 0.3, 0}},
    {"sigmoid gates", 2, 7, 5, 2, 0, Gate::sigmoid, false, {0.1, 0.2, 0, 0.4}},
    {"sequences alone", 4, 4, 4, 1, 0, Gate::softmax_topk, false, {0, 0.5, 0, 0}},
    {"all experts are chosen", 1, 9, 3, 3, 2, Gate::topk_softmax, false, {0.5, 0, 0, 0.1}},
    {"choices are only counted", 2, 4, 6, 2, 0, Gate::topk_softmax, true, {0, 0, 0, 0}}};
constexpr unsigned kSideGrid = 3, kSideThreads = 64;
constexpr double kSideGradient = 0.7;

/// Tokens that a router of the CPU has sent on their way.
template <class T>
struct SideWorld {
  explicit SideWorld(const SideCase& shape) : c(shape) {
    for (std::size_t i = 0; i < scale.size(); i += 7) scale[i] *= 30;  // some noise is none
    for (std::size_t i = 0; i < clean.size(); ++i) {
      const T draw = c.noisy ? draws[i] : T{0};
      logits.push_back(clean[i] + draw * softplus(scale[i]));
      slope.push_back(draw * softplus_slope(scale[i]));
      std.push_back(softplus(scale[i]));
    }
    std::vector<T> room(at(c.experts));
    const auto layer = twin_layer();
    for (Index n = 0; n < tokens(); ++n) {
      const T* mine = logits.data() + n * c.experts;
      twin::choose(mine, c.experts, c.top_k, chosen.data() + n * slots());
      twin::gate_values(layer, mine, chosen.data() + n * slots(), room.data(),
                        gates.data() + n * slots());
    }
  }
  Index tokens() const { return c.windows * c.time; }
  int slots() const { return c.top_k + c.shared; }
  RoutedTokens<T> routed() const {
    return {tokens(),
            c.time,
            c.experts,
            c.top_k,
            slots(),
            c.gate,
            clean.data(),
            logits.data(),
            c.noisy ? scale.data() : nullptr,
            c.noisy ? slope.data() : nullptr,
            chosen.data(),
            gates.data()};
  }
  Router<T> router() const {
    return {tokens(), c.experts, c.top_k, slots(), c.gate, true, 1, nullptr, logits.data()};
  }
  BalanceSpec spec() const {
    return {c.weights.switch_batch, c.weights.switch_sequence, c.weights.importance_load,
            c.weights.z_loss, 0};
  }
  cpu::Mixture<T> twin_layer() const {
    cpu::Mixture<T> layer{};
    layer.tokens = tokens();
    layer.experts = c.experts;
    layer.top_k = c.top_k;
    layer.shared = c.shared;
    layer.gate = static_cast<moe::Gate>(c.gate);
    layer.gate_norm = true;
    layer.gate_scale = 1;
    layer.noisy = c.noisy;
    layer.logits = const_cast<T*>(logits.data());
    layer.clean_logits = const_cast<T*>(clean.data());
    layer.noise_std = const_cast<T*>(std.data());
    layer.noise_slope = const_cast<T*>(slope.data());
    layer.chosen = const_cast<int*>(chosen.data());
    layer.gates = const_cast<T*>(gates.data());
    layer.balance.on = true;
    layer.balance.probabilities = c.weights.reads_probabilities();
    layer.balance.squares = c.weights.reads_squares();
    layer.balance.load = c.weights.reads_load();
    layer.balance.time = c.time;
    layer.balance.scale = kSideGradient;
    return layer;
  }

  SideCase c;
  std::vector<T> clean = random_values<T>(tokens() * c.experts, 1);
  std::vector<T> scale = random_values<T>(tokens() * c.experts, 2);
  std::vector<T> draws = random_values<T>(tokens() * c.experts, 3);
  std::vector<T> d_gates = random_values<T>(tokens() * slots(), 4);
  std::vector<T> logits, slope, std;
  std::vector<int> chosen = std::vector<int>(at(tokens() * slots()), c.experts);
  std::vector<T> gates = std::vector<T>(at(tokens() * slots()), 1);
  /// Sums of an update that these tokens are a part of.
  std::vector<double> update = [this] {
    auto sums = random_values<double>(kBalanceSums * c.experts, 5);
    for (auto& sum : sums) sum = 10 + std::abs(sum);
    return sums;
  }();
};

/// All that forward leaves.
struct Outcome {
  explicit Outcome(const SideCase& c)
      : sums(at(c.windows * kBalanceSums * c.experts)),
        log_squares(at(c.windows)),
        loss(1),
        terms(kSideTerms),
        totals(at(kBalanceSums * c.experts)),
        probability(at(c.windows * c.experts)),
        importance(at(c.experts)),
        load(at(c.experts)),
        square(1) {}
  SideLosses losses() {
    return {loss.data(),       terms.data(), totals.data(), probability.data(),
            importance.data(), load.data(),  square.data()};
  }
  auto parts() const {
    return std::tuple(sums, log_squares, loss, terms, totals, probability, importance, load,
                      square);
  }
  std::vector<double> sums, log_squares, loss, terms, totals, probability, importance, load, square;
};

template <class T>
Outcome losses_in_order(const SideWorld<T>& world, bool is_part, unsigned seed) {
  Outcome out(world.c);
  auto values = unwritten<double>(world.tokens() * (2 * world.c.experts + 1));
  launch(kSideGrid, kSideThreads, seed,
         [&] { side_values(world.routed(), world.c.weights, values.data()); });
  launch(kSideGrid, kSideThreads, seed, [&] {
    side_sums(world.routed(), world.c.weights, values.data(), out.sums.data(),
              out.log_squares.data());
  });
  const SideSums sums{world.c.windows,        world.c.time,
                      world.c.experts,        out.sums.data(),
                      out.log_squares.data(), is_part ? world.update.data() : nullptr};
  launch(1, kSideThreads, seed, [&] { side_losses(world.c.weights, sums, out.losses()); });
  return out;
}

template <class T>
Outcome losses_of_twin(const SideWorld<T>& world, bool is_part) {
  Outcome out(world.c);
  auto layer = world.twin_layer();
  layer.balance.sums = out.sums.data();
  layer.balance.log_squares = out.log_squares.data();
  std::vector<T> room(at(world.c.experts));
  for (Index w = 0; w < world.c.windows; ++w) twin::balance_sums(layer, w, room.data());
  kernels::SideSlopes slopes{out.probability.data(), out.importance.data(), out.load.data(), 0};
  const auto terms =
      kernels::side_losses(world.spec(),
                           {world.c.windows, world.c.time, world.c.experts, out.sums.data(),
                            out.log_squares.data(), is_part ? world.update.data() : nullptr},
                           out.totals.data(), slopes);
  out.loss[0] = kernels::weighted(world.spec(), terms);
  out.terms.assign(terms.begin(), terms.end());
  out.square[0] = slopes.square;
  return out;
}

template <class T>
class CudaSideLoss : public ::testing::Test {};
TYPED_TEST_SUITE(CudaSideLoss, FloatTypes);

TYPED_TEST(CudaSideLoss, SumsAndTermsAreNumberedAsThoseOfTheModel) {
  EXPECT_EQ(static_cast<int>(kImportance), static_cast<int>(moe::kImportance));
  EXPECT_EQ(static_cast<int>(kLoad), static_cast<int>(moe::kLoad));
  EXPECT_EQ(static_cast<int>(kProbability), static_cast<int>(moe::kProbability));
  EXPECT_EQ(static_cast<int>(kBalanceSums), static_cast<int>(moe::kBalanceSums));
  EXPECT_EQ(static_cast<int>(kSwitchSequence), static_cast<int>(moe::kSwitchSequence));
  EXPECT_EQ(static_cast<int>(kImportanceLoss), static_cast<int>(moe::kImportanceLoss));
  EXPECT_EQ(static_cast<int>(kLoadLoss), static_cast<int>(moe::kLoadLoss));
  EXPECT_EQ(static_cast<int>(kZLoss), static_cast<int>(moe::kZLoss));
  EXPECT_EQ(static_cast<int>(kSideTerms), static_cast<int>(moe::kSideTerms));
}

TYPED_TEST(CudaSideLoss, SumsLossesAndSlopesAreThoseOfTheCpu) {
  for (const auto& shape : kSideCases)
    for (const bool is_part : {false, true}) {
      SCOPED_TRACE(shape.name);
      const SideWorld<TypeParam> world(shape);
      const auto got = in_every_order(
          [&](unsigned seed) { return losses_in_order(world, is_part, seed).parts(); });
      const auto want = losses_of_twin(world, is_part).parts();
      const auto check = [&]<std::size_t... i>(std::index_sequence<i...>) {
        (expect_near(std::get<i>(got), std::get<i>(want), kNear<TypeParam>), ...);
      };
      check(std::make_index_sequence<std::tuple_size_v<decltype(want)>>());
    }
}

/// d_logits and d_scale (N, E).
template <class T>
using Gradients = std::tuple<std::vector<T>, std::vector<T>>;

template <class T>
Gradients<T> gradients_in_order(const SideWorld<T>& world, unsigned seed) {
  auto out = losses_of_twin(world, /*is_part=*/true);
  auto d_gates = world.d_gates;
  auto d_logits = unwritten<T>(world.tokens() * world.c.experts), d_scale = d_logits;
  if (world.c.weights.reads_load())
    launch(kSideGrid, kSideThreads, seed, [&] {
      importance_gradients(world.routed(), out.losses(), &kSideGradient, d_gates.data());
    });
  launch(kSideGrid, kSideThreads, seed, [&] {
    gates_backward(world.router(), world.chosen.data(), world.gates.data(), d_gates.data(),
                   d_logits.data());
  });
  launch(kSideGrid, kSideThreads, seed, [&] {
    side_gradients(world.routed(), world.c.weights, out.losses(), &kSideGradient, d_logits.data(),
                   world.c.noisy ? d_scale.data() : nullptr);
  });
  if (!world.c.noisy) d_scale.clear();
  return {d_logits, d_scale};
}

template <class T>
Gradients<T> gradients_of_twin(const SideWorld<T>& world) {
  auto out = losses_of_twin(world, /*is_part=*/true);
  const Index e = world.c.experts;
  auto d_gates = world.d_gates;
  std::vector<T> token_logits(at(world.tokens() * e)), scratch(at(2 * e));
  std::vector<T> panel(at(2 * e * cpu::kPanel));
  auto layer = world.twin_layer();
  layer.d_gates = d_gates.data();
  layer.d_token_logits = token_logits.data();
  layer.balance.probability_slope = out.probability.data();
  layer.balance.importance_slope = out.importance.data();
  layer.balance.load_slope = out.load.data();
  layer.balance.square_slope = out.square[0];
  std::vector<T> d_logits, d_scale;
  for (Index n = 0; n < world.tokens(); ++n) {
    twin::logit_gradients(layer, n, 1, panel.data(), scratch.data());
    for (Index i = 0; i < e; ++i) d_logits.push_back(panel[at(i * cpu::kPanel)]);
    for (Index i = 0; i < e && world.c.noisy; ++i)
      d_scale.push_back(panel[at((e + i) * cpu::kPanel)]);
  }
  return {d_logits, d_scale};
}

TYPED_TEST(CudaSideLoss, LogitsAndNoiseGetTheGradientsThatTheyGetOnTheCpu) {
  for (const auto& shape : kSideCases) {
    SCOPED_TRACE(shape.name);
    const SideWorld<TypeParam> world(shape);
    const auto [d_logits, d_scale] =
        in_every_order([&](unsigned seed) { return gradients_in_order(world, seed); });
    const auto [want_logits, want_scale] = gradients_of_twin(world);
    expect_near(d_logits, want_logits, kNear<TypeParam>);
    expect_near(d_scale, want_scale, kNear<TypeParam>);
  }
}

TEST(CudaSideValues, NoiseFarBelowWhatALogitCanShowCountsAsAMillionth) {
  const std::vector<double> logits{1, 1 - 5e-7}, scale{-60, -60};
  const std::vector<int> chosen{0};
  const std::vector<double> gates{1};
  const RoutedTokens<double> routed{1,
                                    1,
                                    2,
                                    1,
                                    1,
                                    Gate::topk_softmax,
                                    logits.data(),
                                    logits.data(),
                                    scale.data(),
                                    nullptr,
                                    chosen.data(),
                                    gates.data()};
  auto values = unwritten<double>(5);
  launch(1, 32, 1, [&] { side_values(routed, {0, 0, 1, 0}, values.data()); });
  const double half_a_deviation = 0.5 * std::erfc(-0.5 / std::sqrt(2.0));
  EXPECT_NEAR(values[0], half_a_deviation, 1e-9);
  EXPECT_NEAR(values[1], 1 - half_a_deviation, 1e-9);
}

TEST(CudaSideSums, AreAddedToThoseOfTheUpdate) {
  std::vector<double> update{1, 2, 3};
  const std::vector<double> part{10, 20, 30};
  launch(1, 32, 1, [&] { add_sums(part.data(), 2, update.data()); });
  EXPECT_EQ(update, (std::vector<double>{11, 22, 3}));
}

TYPED_TEST(CudaSideLoss, BiasesMoveTowardsAnEvenLoadButInARefusedUpdate) {
  const std::vector<double> choices{4, 2, 3, 3};
  const std::vector<TypeParam> before{1, 1, 1, 1};
  const auto rate = static_cast<TypeParam>(0.001);
  for (const bool is_sound : {false, true}) {
    Update update{};
    update.is_sound = is_sound ? 1 : 0;
    const auto bias = in_every_order([&](unsigned seed) {
      auto to = before;
      launch(1, 64, seed, [&] { move_biases(choices.data(), 4, 0.001, &update, to.data()); });
      return to;
    });
    EXPECT_EQ(bias, is_sound ? (std::vector<TypeParam>{1 - rate, 1 + rate, 1, 1}) : before);
  }
}

}  // namespace
}  // namespace moe::kernels::cuda
