// Tokens on their way to experts and back, against loops slot by slot in double.

#include "kernels/cuda/mixture.cuh"

#include "moe/base/random.h"
#include "orders.h"

namespace moe::kernels::cuda {
namespace {

using cuda_on_cpu::launch;

constexpr unsigned kMixtureGrid = 3, kMixtureThreads = 64;

struct MixtureCase {
  const char* name;
  Index tokens, width;
  int token_slots;
  bool drops;
};
constexpr MixtureCase kMixtureCases[] = {{"one value", 1, 1, 1, true},
                                         {"no whole blocks of words", 9, 37, 2, true},
                                         {"no dropout", 9, 37, 2, false},
                                         {"more values than a warp has lanes", 5, 260, 3, true},
                                         {"more tokens than warps", 70, 8, 4, true}};

/// Slots at places that were drawn; every fifth has none, and every third place no slot.
template <class T>
struct World {
  explicit World(const MixtureCase& shape) : c(shape) {
    const Index slots = c.tokens * c.token_slots;
    of.assign(static_cast<std::size_t>(slots), -1);
    table.assign(static_cast<std::size_t>(2 * slots + 1), -1);
    std::mt19937 bits(9);
    for (Index s = 0; s < slots; ++s) {
      if (slots > 1 && s % 5 == 4) continue;
      auto place = bits() % table.size();
      while (table[place] >= 0) place = (place + 1) % table.size();
      table[place] = static_cast<int>(s);
      of[static_cast<std::size_t>(s)] = static_cast<int>(place);
    }
    for (Index n = 0; n < c.tokens; ++n) {
      sequence.push_back(n / 3);
      position.push_back(n % 3 + 50);
    }
    gate_values = random_values<T>(slots, 2);
    x = random_values<T>(c.tokens * c.width, 3);
    rows = random_values<T>(place_count() * c.width, 4);
  }

  Index place_count() const { return static_cast<Index>(table.size()); }
  Places places() const {
    return {c.tokens, c.width, c.token_slots, place_count(), table.data(), of.data()};
  }
  Gates<T> gates() const {
    const Draws draws{sequence.data(), position.data(), &key, 5};
    return {gate_values.data(), {draws, static_cast<Word>(0.4 * 0x1p32), 1 / 0.6}, c.drops};
  }

  double gate(Index slot) const { return static_cast<double>(gate_values[at(slot)]); }
  /// What dropout multiplies value w of a slot's answer by.
  double kept(Index slot, Index w) const {
    if (!c.drops) return 1;
    const Index n = slot / c.token_slots;
    const Index draw = slot % c.token_slots * ((c.width + 3) / 4 * 4) + w;
    const auto words = philox4x32({static_cast<Word>(draw / 4), static_cast<Word>(position[at(n)]),
                                   static_cast<Word>(sequence[at(n)]), 5},
                                  key);
    return words[at(draw % 4)] >= static_cast<Word>(0.4 * 0x1p32)
               ? static_cast<double>(static_cast<T>(1 / 0.6))
               : 0;
  }
  static std::size_t at(Index i) { return static_cast<std::size_t>(i); }

  /// Calls use(slot, n, place) for each slot that has a place, in order.
  template <class Use>
  void for_each_slot(const Use& use) const {
    for (Index s = 0; s < c.tokens * c.token_slots; ++s)
      if (of[at(s)] >= 0) use(s, s / c.token_slots, Index{of[at(s)]});
  }

  MixtureCase c;
  Key key = stream_key(4, "dropout", 1);
  std::vector<int> table, of;
  std::vector<Index> sequence, position;
  std::vector<T> gate_values, x, rows;  // (N, M), (N, C), (P, C)
};

/// What a kernel writes, `count` values, in every order.
template <class T, class Kernel>
std::vector<T> written(Index count, const Kernel& kernel) {
  return in_every_order([&](unsigned seed) {
    auto to = unwritten<T>(count);
    launch(kMixtureGrid, kMixtureThreads, seed, [&] { kernel(to.data()); });
    return to;
  });
}

template <class T>
class CudaMixture : public ::testing::Test {};
TYPED_TEST_SUITE(CudaMixture, FloatTypes);

TYPED_TEST(CudaMixture, EveryPlaceGetsItsTokenOrZeros) {
  for (const auto& shape : kMixtureCases) {
    SCOPED_TRACE(shape.name);
    const World<TypeParam> world(shape);
    std::vector<double> want(world.rows.size(), 0);
    world.for_each_slot([&](Index, Index n, Index place) {
      for (Index w = 0; w < shape.width; ++w)
        want[world.at(place * shape.width + w)] =
            static_cast<double>(world.x[world.at(n * shape.width + w)]);
    });
    const auto got = written<TypeParam>(world.place_count() * shape.width, [&](auto* to) {
      gather_tokens(world.places(), world.x.data(), to);
    });
    expect_near(got, want, 0);
  }
}

TYPED_TEST(CudaMixture, ATokensGradientIsTheSumOverItsPlacesAndOfWhatPassesBy) {
  for (const auto& shape : kMixtureCases)
    for (const bool has_past : {false, true}) {
      SCOPED_TRACE(shape.name);
      const World<TypeParam> world(shape);
      std::vector<double> want(world.x.size(), 0);
      if (has_past) want.assign(world.x.begin(), world.x.end());
      world.for_each_slot([&](Index, Index n, Index place) {
        for (Index w = 0; w < shape.width; ++w)
          want[world.at(n * shape.width + w)] +=
              static_cast<double>(world.rows[world.at(place * shape.width + w)]);
      });
      const auto* past = has_past ? world.x.data() : nullptr;
      const auto got = written<TypeParam>(shape.tokens * shape.width, [&](auto* to) {
        gather_tokens_backward(world.places(), world.rows.data(), past, to);
      });
      expect_near(got, want, kNear<TypeParam>);
    }
}

TYPED_TEST(CudaMixture, AnswersAreDroppedGatedAndAddedToTheStream) {
  for (const auto& shape : kMixtureCases)
    for (const bool has_stream : {false, true}) {
      SCOPED_TRACE(shape.name);
      const World<TypeParam> world(shape);
      std::vector<double> want(world.x.size(), 0);
      if (has_stream) want.assign(world.x.begin(), world.x.end());
      world.for_each_slot([&](Index slot, Index n, Index place) {
        for (Index w = 0; w < shape.width; ++w)
          want[world.at(n * shape.width + w)] +=
              world.gate(slot) * world.kept(slot, w) *
              static_cast<double>(world.rows[world.at(place * shape.width + w)]);
      });
      const auto* stream = has_stream ? world.x.data() : nullptr;
      const auto got = written<TypeParam>(shape.tokens * shape.width, [&](auto* to) {
        combine(world.places(), world.gates(), world.rows.data(), stream, to);
      });
      expect_near(got, want, kNear<TypeParam>);
    }
}

TYPED_TEST(CudaMixture, AnswersGetTheGradientOfTheirTokenTimesGateAndMask) {
  for (const auto& shape : kMixtureCases) {
    SCOPED_TRACE(shape.name);
    const World<TypeParam> world(shape);
    std::vector<double> want(world.rows.size(), 0);
    world.for_each_slot([&](Index slot, Index n, Index place) {
      for (Index w = 0; w < shape.width; ++w)
        want[world.at(place * shape.width + w)] =
            world.gate(slot) * world.kept(slot, w) *
            static_cast<double>(world.x[world.at(n * shape.width + w)]);
    });
    const auto got = written<TypeParam>(world.place_count() * shape.width, [&](auto* to) {
      combine_backward(world.places(), world.gates(), world.x.data(), to);
    });
    expect_near(got, want, kNear<TypeParam>);
  }
}

TYPED_TEST(CudaMixture, AGatesGradientIsItsAnswerTimesTheTokensGradient) {
  for (const auto& shape : kMixtureCases) {
    SCOPED_TRACE(shape.name);
    const World<TypeParam> world(shape);
    std::vector<double> want(world.gate_values.size(), 0);
    world.for_each_slot([&](Index slot, Index n, Index place) {
      for (Index w = 0; w < shape.width; ++w)
        want[world.at(slot)] += world.kept(slot, w) *
                                static_cast<double>(world.x[world.at(n * shape.width + w)]) *
                                static_cast<double>(world.rows[world.at(place * shape.width + w)]);
    });
    const auto got = written<TypeParam>(shape.tokens * shape.token_slots, [&](auto* to) {
      gate_gradients(world.places(), world.gates(), world.rows.data(), world.x.data(), to);
    });
    expect_near(got, want, kNear<TypeParam> * 10);  // sums of 260 products of either sign
  }
}

}  // namespace
}  // namespace moe::kernels::cuda
