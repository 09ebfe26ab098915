// Routing on the device against that of the CPU: choices to the last one, gates and gradients.

#include "kernels/cuda/route.cuh"

#include "cpu_twin.h"
#include "moe/base/random.h"
#include "orders.h"

namespace moe::kernels::cuda {
namespace {

using cuda_on_cpu::launch;

struct RouteCase {
  const char* name;
  Index tokens;
  int experts, top_k, shared;
};
constexpr RouteCase kRouteCases[] = {{"one expert", 1, 1, 1, 0},
                                     {"all experts", 5, 3, 3, 0},
                                     {"eight experts, one shared", 7, 8, 2, 1},
                                     {"more experts than lanes", 2, 75, 34, 2},
                                     {"as many experts as there may be", 1, 1024, 3, 0}};
/// gate, gate_norm
constexpr std::pair<Gate, bool> kGates[] = {{Gate::topk_softmax, false},
                                            {Gate::softmax_topk, false},
                                            {Gate::sigmoid, false},
                                            {Gate::sigmoid, true}};
constexpr double kGateScale = 2.5;
constexpr unsigned kRouteGrid = 2, kRouteThreads = 64;

template <class T>
struct Routers {
  Routers(const RouteCase& shape, std::pair<Gate, bool> gate)
      : c(shape), kind(gate), slots(c.top_k + c.shared) {
    logits = random_values<T>(c.tokens * c.experts, 3);
    bias = random_values<T>(c.experts, 4);
    d_gates = random_values<T>(c.tokens * slots, 5);
  }
  Router<T> router(bool has_bias) const {
    return {c.tokens,     c.experts,   c.top_k,    slots,
            kind.first,   kind.second, kGateScale, has_bias ? bias.data() : nullptr,
            logits.data()};
  }
  cpu::Mixture<T> twin_layer(bool has_bias) const {
    cpu::Mixture<T> layer{};
    layer.experts = c.experts;
    layer.top_k = c.top_k;
    layer.shared = c.shared;
    layer.gate = static_cast<moe::Gate>(kind.first);
    layer.gate_norm = kind.second;
    layer.gate_scale = kGateScale;
    layer.choice_bias = has_bias ? bias.data() : nullptr;
    return layer;
  }
  /// Calls use(token's logits, its first slot) for each token.
  template <class Use>
  void for_each_token(const Use& use) const {
    for (Index n = 0; n < c.tokens; ++n) use(logits.data() + n * c.experts, n * slots);
  }

  /// (N, M); what no router chooses stays -77.
  std::vector<int> chosen_by_twin(bool has_bias) const {
    auto chosen = unwritten<int>(c.tokens * slots);
    std::vector<T> room(static_cast<std::size_t>(c.experts));
    for_each_token([&](const T* mine, Index slot) {
      twin::choose(twin::choice_values(twin_layer(has_bias), mine, room.data()), c.experts, c.top_k,
                   chosen.data() + slot);
    });
    return chosen;
  }
  /// (N, M); 0 for shared experts, which are another stage's.
  std::vector<T> gates_by_twin(const std::vector<int>& chosen) const {
    std::vector<T> gates(chosen.size(), 0), room(static_cast<std::size_t>(c.experts));
    for_each_token([&](const T* mine, Index slot) {
      twin::gate_values(twin_layer(false), mine, chosen.data() + slot, room.data(),
                        gates.data() + slot);
    });
    return gates;
  }

  RouteCase c;
  std::pair<Gate, bool> kind;
  int slots;
  std::vector<T> logits, bias, d_gates;
};

/// Calls use(routers) for all shapes and gates.
template <class T, class Use>
void for_each_router(const Use& use) {
  for (const auto& shape : kRouteCases)
    for (const auto& gate : kGates) {
      SCOPED_TRACE(::testing::Message() << shape.name << ", gate " << static_cast<int>(gate.first));
      use(Routers<T>(shape, gate));
    }
}

template <class T>
std::vector<int> chosen_of(const Router<T>& router) {
  return in_every_order([&](unsigned seed) {
    auto chosen = unwritten<int>(router.tokens * router.token_slots);
    launch(kRouteGrid, kRouteThreads, seed, [&] { choose_experts(router, chosen.data()); });
    return chosen;
  });
}

/// The K chosen of one token with these logits.
template <class T>
std::vector<int> choice_of(const std::vector<T>& logits, int top_k, const T* bias = nullptr) {
  const auto experts = static_cast<int>(logits.size());
  return chosen_of(
      Router<T>{1, experts, top_k, top_k, Gate::topk_softmax, false, 1, bias, logits.data()});
}

template <class T>
class CudaRoute : public ::testing::Test {};
TYPED_TEST_SUITE(CudaRoute, FloatTypes);

TYPED_TEST(CudaRoute, KindsOfGatesAreNumberedAsThoseOfTheModel) {
  EXPECT_EQ(static_cast<int>(Gate::topk_softmax), static_cast<int>(moe::Gate::topk_softmax));
  EXPECT_EQ(static_cast<int>(Gate::softmax_topk), static_cast<int>(moe::Gate::softmax_topk));
  EXPECT_EQ(static_cast<int>(Gate::sigmoid), static_cast<int>(moe::Gate::sigmoid));
}

TYPED_TEST(CudaRoute, ChoicesAreThoseOfTheCpuWithABiasAndWithout) {
  for_each_router<TypeParam>([](const Routers<TypeParam>& routers) {
    for (const bool has_bias : {false, true})
      EXPECT_EQ(chosen_of(routers.router(has_bias)), routers.chosen_by_twin(has_bias));
  });
}

TYPED_TEST(CudaRoute, OfEqualLogitsTheFirstExpertIsChosen) {
  std::vector<TypeParam> logits(70, 1);
  logits[3] = 0;
  logits[65] = 2;
  EXPECT_EQ(choice_of(logits, 5), (std::vector<int>{65, 0, 1, 2, 4}));
}

TYPED_TEST(CudaRoute, AMaskedExpertIsChosenLastWhateverItsBias) {
  constexpr auto kInfinity = std::numeric_limits<TypeParam>::infinity();
  const std::vector<TypeParam> logits{-kInfinity, 1, 1}, bias{100, 0, 1};
  EXPECT_EQ(choice_of(logits, 3, bias.data()), (std::vector<int>{2, 1, 0}));
}

TYPED_TEST(CudaRoute, NanIsChosenOnlyIfNothingElseIsLeftAndOnce) {
  constexpr auto kNan = std::numeric_limits<TypeParam>::quiet_NaN();
  EXPECT_EQ(choice_of<TypeParam>({kNan, 1, kNan, 2}, 4), (std::vector<int>{3, 1, 0, 2}));
}

TYPED_TEST(CudaRoute, GatesAreThoseOfTheCpu) {
  for_each_router<TypeParam>([](const Routers<TypeParam>& routers) {
    const auto chosen = routers.chosen_by_twin(false);
    const auto gates = in_every_order([&](unsigned seed) {
      std::vector<TypeParam> to(chosen.size(), 0);
      launch(kRouteGrid, kRouteThreads, seed,
             [&] { gate_values(routers.router(false), chosen.data(), to.data()); });
      return to;
    });
    expect_near(gates, routers.gates_by_twin(chosen), kNear<TypeParam>);
  });
}

TYPED_TEST(CudaRoute, GradientsOfLogitsAreThoseOfTheCpu) {
  for_each_router<TypeParam>([](const Routers<TypeParam>& routers) {
    const auto chosen = routers.chosen_by_twin(false);
    const auto gates = routers.gates_by_twin(chosen);
    const auto size = static_cast<Index>(routers.logits.size());
    const auto d_logits = in_every_order([&](unsigned seed) {
      auto to = unwritten<TypeParam>(size);
      launch(kRouteGrid, kRouteThreads, seed, [&] {
        gates_backward(routers.router(false), chosen.data(), gates.data(), routers.d_gates.data(),
                       to.data());
      });
      return to;
    });
    std::vector<TypeParam> want;
    routers.for_each_token([&](const TypeParam* logits, Index slot) {
      std::vector<TypeParam> mine(static_cast<std::size_t>(routers.c.experts));
      twin::gates_backward(routers.twin_layer(false), logits, gates.data() + slot,
                           routers.d_gates.data() + slot, chosen.data() + slot, mine.data());
      want.insert(want.end(), mine.begin(), mine.end());
    });
    expect_near(d_logits, want, kNear<TypeParam>);
  });
}

TYPED_TEST(CudaRoute, AHashNamesTheExpertsOfASymbol) {
  const std::vector<Index> symbols{2, 0, 2};
  const std::vector<int> hashed{5, 6, 7, 8, 9, 10};  // of three symbols
  auto chosen = unwritten<int>(9);
  launch(1, 32, 1, [&] { hashed_experts(symbols.data(), hashed.data(), 3, 2, 3, chosen.data()); });
  EXPECT_EQ(chosen, (std::vector<int>{9, 10, -77, 5, 6, -77, 9, 10, -77}));
}

TYPED_TEST(CudaRoute, SharedExpertsAreTheLastSlotsWithTheirGateOrOne) {
  const std::vector<TypeParam> gate{0.25, 0.5};
  for (const bool has_gate : {false, true}) {
    std::vector<int> chosen(6, 0);
    std::vector<TypeParam> gates(6, 0);
    launch(1, 32, 1, [&] {
      fill_shared_slots(2, 8, 1, 3, has_gate ? gate.data() : nullptr, chosen.data(), gates.data());
    });
    EXPECT_EQ(chosen, (std::vector<int>{0, 8, 9, 0, 8, 9}));
    const TypeParam first = has_gate ? gate[0] : TypeParam{1},
                    second = has_gate ? gate[1] : TypeParam{1};
    EXPECT_EQ(gates, (std::vector<TypeParam>{0, first, first, 0, second, second}));
  }
}

/// Noise for 6 tokens and 21 experts: draws, scales from -60 to 60, logits.
template <class T>
struct Noise {
  static constexpr Index kTokens = 6, kExperts = 21;
  Noise() {
    for (std::size_t i = 0; i < scale.size(); i += 3) scale[i] *= 30;
  }
  Draws draws() const { return {place.data(), place.data(), &key, 9}; }

  Key key = stream_key(2, "router noise", 8);
  std::vector<Index> place{0, 1, 2, 3, 4, 50};
  std::vector<T> scale = random_values<T>(kTokens * kExperts, 1);
  std::vector<T> logits = random_values<T>(kTokens * kExperts, 2);
};

TYPED_TEST(CudaRoute, NoiseAndItsSlopeAreThoseOfTheCpu) {
  using N = Noise<TypeParam>;
  const N noise;
  const auto [logits, slope] = in_every_order([&](unsigned seed) {
    auto noisy = unwritten<TypeParam>(N::kTokens * N::kExperts), to = noisy;
    launch(1, 32, seed, [&] {
      add_noise(noise.draws(), N::kTokens, N::kExperts, noise.scale.data(), noise.logits.data(),
                noisy.data(), to.data());
    });
    return std::tuple(noisy, to);
  });
  std::vector<std::int64_t> place(noise.place.begin(), noise.place.end());
  const auto size = static_cast<std::size_t>(cpu::padded(N::kTokens * N::kExperts));
  std::vector<TypeParam> draws(size), want = noise.logits, want_slope = noise.scale;
  twin::normal_rows<TypeParam>({noise.key, 9}, {place.data(), place.data()}, N::kTokens,
                               N::kExperts, draws.data());
  want.resize(size);
  want_slope.resize(size);
  twin::add_noise<TypeParam>(static_cast<Index>(size) / cpu::kPanel, draws.data(), want.data(),
                             want_slope.data());
  want.resize(logits.size());
  want_slope.resize(slope.size());
  expect_near(logits, want, kNear<TypeParam>);
  expect_near(slope, want_slope, kNear<TypeParam>);
}

TYPED_TEST(CudaRoute, TheNoisesScaleGetsTheLogitsGradientTimesTheSlope) {
  const std::vector<TypeParam> slope{1, 2, 3, 4, 5, 6}, d_logits{2, 2, 2, 3, 3, 3};
  auto d_scale = unwritten<TypeParam>(6);
  launch(1, 32, 1, [&] {
    add_noise_backward<TypeParam>(3, 2, slope.data(), d_logits.data(), d_scale.data());
  });
  EXPECT_EQ(d_scale, (std::vector<TypeParam>{2, 4, 6, 12, 15, 18}));
}

}  // namespace
}  // namespace moe::kernels::cuda
