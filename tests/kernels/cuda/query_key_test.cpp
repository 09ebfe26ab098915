// Norms, rotations and shared values between product and attention, against the CPU's.

#include "kernels/cuda/query_key.cuh"

#include "cpu_twin.h"
#include "kernels/cuda/sums.cuh"
#include "orders.h"

namespace moe::kernels::cuda {
namespace {

using cuda_on_cpu::launch;

struct MeetCase {
  const char* name;
  int windows, time, heads, head_size;
  bool normalises, rotates, mixes;
};
constexpr MeetCase kMeetCases[] = {
    {"one token", 1, 1, 1, 2, true, true, true},
    {"nothing but the norm, of odd heads", 2, 7, 3, 33, true, false, false},
    {"nothing but the rotation", 1, 20, 2, 16, false, true, false},
    {"nothing but the values", 1, 9, 2, 5, false, false, true},
    {"the largest heads", 2, 10, 2, kMostHeadSize, true, true, true},
    {"more heads than a block has warps", 3, 6, 9, 4, true, true, true}};
constexpr double kMeetEps = 1e-6;
constexpr unsigned kMeetGrid = 3;
/// Gains' gradients are sums over all tokens and heads.
template <class T>
constexpr double kMeetNear = 2 * kNear<T>;

template <class T>
struct MeetWorld {
  explicit MeetWorld(const MeetCase& shape) : c(shape) {}
  Index tokens() const { return Index{c.windows} * c.time; }
  Index size() const { return c.head_size; }
  Index width() const { return c.heads * size(); }
  MeetStage<T> stage() const {
    return {tokens(),
            c.time,
            c.heads,
            c.head_size,
            c.normalises ? gains.data() : nullptr,
            c.normalises ? gains.data() + size() : nullptr,
            kMeetEps,
            c.rotates ? angles.data() : nullptr,
            c.mixes ? &lambda : nullptr,
            c.mixes ? first.data() + 2 * width() : nullptr,
            3 * width()};
  }
  /// The values of rows (N, 3C) side by side, with room for a last vector of the twin.
  std::vector<T> values_of(const std::vector<T>& rows) const {
    std::vector<T> values(at(cpu::padded(tokens() * width())));
    for (Index i = 0; i < tokens() * width(); ++i)
      values[at(i)] = rows[at(i / width() * 3 * width() + 2 * width() + i % width())];
    return values;
  }
  void put_values(const std::vector<T>& values, std::vector<T>& rows) const {
    for (Index i = 0; i < tokens() * width(); ++i)
      rows[at(i / width() * 3 * width() + 2 * width() + i % width())] = values[at(i)];
  }
  /// Calls use(part, values of a head, angles of its token), each with lanes as the twin has them,
  /// the token's being the first; the values go back where they were.
  template <class Use>
  void for_each_head(std::vector<T>& rows, const Use& use) const {
    std::vector<T> lanes(at(size() * cpu::kPanel)), turn(lanes);
    for (Index n = 0; n < tokens(); ++n)
      for (Index h = 0; h < 2 * c.heads; ++h) {
        T* head = rows.data() + n * 3 * width() + h * size();
        for (Index i = 0; i < size(); ++i) {
          lanes[at(i * cpu::kPanel)] = head[i];
          turn[at(i * cpu::kPanel)] = angles[at(n % c.time * size() + i)];
        }
        use(h / c.heads, n * 3 * width() + h * size(), lanes.data(), turn.data());
        for (Index i = 0; i < size(); ++i) head[i] = lanes[at(i * cpu::kPanel)];
      }
  }

  MeetCase c;
  T lambda = static_cast<T>(0.3);
  std::vector<T> from = random_values<T>(tokens() * 3 * width(), 1);
  std::vector<T> first = random_values<T>(tokens() * 3 * width(), 2);
  std::vector<T> gains = random_values<T>(2 * size(), 3);
  std::vector<T> angles = random_values<T>(c.time * size(), 4);
  std::vector<T> d = random_values<T>(tokens() * 3 * width(), 5);
  std::vector<T> d_first = random_values<T>(tokens() * width(), 6);
};

template <class T>
std::vector<T> met_by_twin(const MeetWorld<T>& world) {
  auto rows = world.from;
  world.for_each_head(rows, [&](Index part, Index, T* lanes, const T* turn) {
    if (world.c.normalises)
      twin::normalise_head(world.gains.data() + part * world.size(), world.size(), kMeetEps, lanes);
    if (world.c.rotates) twin::rotate_head(turn, world.size(), /*back=*/false, lanes);
  });
  auto values = world.values_of(rows), first = world.values_of(world.first);
  cpu::ValueResidual<T> stage;
  stage.mixes = world.c.mixes;
  stage.lambda = world.lambda;
  stage.first = first.data();
  twin::mix_values(stage, 0, static_cast<Index>(values.size()), values.data());
  world.put_values(values, rows);
  return rows;
}

/// d, d_first, and the gradients of the gains, query's before key's, and of lambda.
template <class T>
struct Backward {
  auto parts() const { return std::tuple(d, d_first, d_gains, d_lambda); }
  std::vector<T> d, d_first, d_gains, d_lambda;
};

template <class T>
Backward<T> backward_of_twin(const MeetWorld<T>& world, bool begins, bool takes) {
  Backward<T> out{world.d, world.d_first, std::vector<T>(at(2 * world.size())), {T{0}}};
  world.for_each_head(out.d, [&](Index part, Index place, T* lanes, const T* turn) {
    if (world.c.rotates) twin::rotate_head(turn, world.size(), /*back=*/true, lanes);
    if (!world.c.normalises) return;
    std::vector<T> before(at(world.size() * cpu::kPanel));
    for (Index i = 0; i < world.size(); ++i)
      before[at(i * cpu::kPanel)] = world.from[at(place + i)];
    twin::normalise_head_backward(before.data(), world.gains.data() + part * world.size(),
                                  world.size(), kMeetEps, lanes,
                                  out.d_gains.data() + part * world.size());
  });
  auto own = world.values_of(world.from), first = world.values_of(world.first);
  auto values = world.values_of(out.d);
  out.d_first.resize(values.size());
  cpu::ValueResidual<T> stage;
  stage.gives = takes;
  stage.mixes = world.c.mixes;
  stage.lambda = world.lambda;
  stage.first = first.data();
  stage.own = own.data();
  stage.d_first = out.d_first.data();
  stage.begins = begins;
  out.d_lambda[0] = static_cast<T>(
      twin::mix_values_backward(stage, 0, static_cast<Index>(values.size()), values.data()));
  world.put_values(values, out.d);
  out.d_first.resize(world.d_first.size());
  return out;
}

template <class T>
Backward<T> backward_in_order(const MeetWorld<T>& world, bool begins, bool takes, unsigned seed) {
  const Index stretches = pieces(world.tokens(), kMeetTokens), columns = 2 * world.size() + 1;
  Backward<T> out{world.d, world.d_first, unwritten<T>(2 * world.size()), unwritten<T>(1)};
  auto parts = unwritten<double>(stretches * columns);
  launch(static_cast<unsigned>(stretches), kMeetThreads, seed, [&] {
    meet_backward(world.stage(), {out.d_first.data(), begins, takes, parts.data()},
                  world.from.data(), out.d.data());
  });
  const auto sum = [&](Index from, Index count, std::vector<T>& to) {
    launch(2, 64, seed, [&] {
      sum_stretches(parts.data() + from, stretches, columns, count, /*adds=*/false, to.data());
    });
  };
  sum(0, 2 * world.size(), out.d_gains);
  sum(2 * world.size(), 1, out.d_lambda);
  return out;
}

template <class T>
class CudaQueryKey : public ::testing::Test {};
TYPED_TEST_SUITE(CudaQueryKey, FloatTypes);

TYPED_TEST(CudaQueryKey, QueriesKeysAndValuesMeetAsOnTheCpu) {
  for (const auto& shape : kMeetCases) {
    SCOPED_TRACE(shape.name);
    const MeetWorld<TypeParam> world(shape);
    const auto met = in_every_order([&](unsigned seed) {
      auto to = unwritten<TypeParam>(world.tokens() * 3 * world.width());
      launch(kMeetGrid, 64, seed, [&] { meet(world.stage(), world.from.data(), to.data()); });
      return to;
    });
    expect_near(met, met_by_twin(world), kMeetNear<TypeParam>);
  }
}

TYPED_TEST(CudaQueryKey, GradientsGoBackAsOnTheCpu) {
  for (const auto& shape : kMeetCases)
    for (const auto& [begins, takes] : {std::pair{true, false}, {false, false}, {false, true}}) {
      SCOPED_TRACE(shape.name);
      if (takes && shape.mixes) continue;  // the first block has none to mix with
      const MeetWorld<TypeParam> world(shape);
      const auto [d, d_first, d_gains, d_lambda] = in_every_order(
          [&](unsigned seed) { return backward_in_order(world, begins, takes, seed).parts(); });
      const auto want = backward_of_twin(world, begins, takes);
      expect_near(d, want.d, kMeetNear<TypeParam>);
      expect_near(d_first, want.d_first, kMeetNear<TypeParam>);
      expect_near(d_gains, want.d_gains, kMeetNear<TypeParam> * 10);
      expect_near(d_lambda, want.d_lambda, kMeetNear<TypeParam> * 10);
    }
}

TYPED_TEST(CudaQueryKey, SumsOfStretchesAreAddedToWhatIsThereOrTakeItsPlace) {
  constexpr Index kStretches = 70, kStride = 5, kWidth = 3;
  const auto parts = random_values<double>(kStretches * kStride, 8);
  for (const bool adds : {false, true}) {
    const std::vector<TypeParam> there{1, 2, 3};
    const auto got = in_every_order([&](unsigned seed) {
      auto to = there;
      launch(1, 64, seed,
             [&] { sum_stretches(parts.data(), kStretches, kStride, kWidth, adds, to.data()); });
      return to;
    });
    std::vector<double> want(at(kWidth), 0);
    for (Index i = 0; i < kWidth; ++i) {
      if (adds) want[at(i)] = static_cast<double>(there[at(i)]);
      for (Index s = 0; s < kStretches; ++s) want[at(i)] += parts[at(s * kStride + i)];
    }
    expect_near(got, want, kNear<TypeParam>);
  }
}

}  // namespace
}  // namespace moe::kernels::cuda
