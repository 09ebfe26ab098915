// Muon on the device, between products of plain loops, against that of the CPU.

#include "kernels/cuda/muon.cuh"

#include "cpu_twin.h"
#include "orders.h"

namespace moe::kernels::cuda {
namespace {

using cuda_on_cpu::launch;

struct MuonCase {
  const char* name;
  Index matrices, rows, columns;
};
constexpr MuonCase kMuonCases[] = {{"one value", 1, 1, 1},
                                   {"wide", 3, 5, 19},
                                   {"tall", 2, 24, 7},
                                   {"parts of a matrix", 2, 4, 5000}};
constexpr Update kMuonSteps[] = {{.learning_rate = 3e-3,
                                  .step = 1,
                                  .momentum = 0.9,
                                  .decay_scale = 1,
                                  .average_weight = 0,
                                  .gradient_scale = 0.5,
                                  .is_sound = 1},
                                 {.learning_rate = 1e-2,
                                  .step = 7,
                                  .momentum = 0.95,
                                  .decay_scale = 0.2,
                                  .average_weight = 0,
                                  .gradient_scale = 1,
                                  .is_sound = 1}};
constexpr double kRateScale = 1.5, kMuonDecay = 0.1;
constexpr cpu::OddPolynomial kSteps[] = {{4.0429, -2.8089, 0.5}, {2.3465, -1.7098, 0.4232}};
constexpr double kMargin = 1.01;
constexpr unsigned kMuonThreads = 64;
/// Two steps of products of matrices; float loses some digits where singular values are small.
template <class T>
constexpr double kMuonNear = 10 * kNear<T>;

template <class T>
struct Stack {
  explicit Stack(const MuonCase& shape) : c(shape) {
    std::fill_n(gradients.begin(), size(), T{0});  // a matrix that stays where it is
    std::fill_n(momentum.begin(), size(), T{0});
  }
  Index size() const { return c.rows * c.columns; }
  Index count() const { return c.matrices * size(); }
  Index side() const { return std::min(c.rows, c.columns); }
  MuonMemory<T> memory() { return {parameters.data(), gradients.data(), momentum.data()}; }
  auto parts() const { return std::tuple(parameters, momentum); }

  MuonCase c;
  std::vector<T> parameters = random_values<T>(count(), 1);
  std::vector<T> gradients = random_values<T>(count(), 2);
  std::vector<T> momentum = random_values<T>(count(), 3);
};

/// Products of the matrices of a stack, by loops: what libtorch does for an engine.
template <class T>
struct Products {
  const Stack<T>& stack;

  /// Value (s, w) of a matrix that is turned so that it is wide.
  T& wide(std::vector<T>& x, Index matrix, Index s, Index w) const {
    const bool is_tall = stack.c.rows > stack.c.columns;
    const Index place = is_tall ? w * stack.c.columns + s : s * stack.c.columns + w;
    return x[at(matrix * stack.size() + place)];
  }
  /// to (N, S, S) of value(matrix, row, column).
  template <class Value>
  std::vector<T> symmetric(const Value& value) const {
    std::vector<T> to;
    for (Index n = 0; n < stack.c.matrices; ++n)
      for (Index i = 0; i < stack.side() * stack.side(); ++i)
        to.push_back(value(n, i / stack.side(), i % stack.side()));
    return to;
  }
  std::vector<T> gram(std::vector<T>& x) const {
    return symmetric([&](Index n, Index i, Index j) {
      T sum = 0;
      for (Index w = 0; w < stack.size() / stack.side(); ++w)
        sum += wide(x, n, i, w) * wide(x, n, j, w);
      return sum;
    });
  }
  std::vector<T> squared(const std::vector<T>& gram_) const {
    const Index side = stack.side();
    return symmetric([&](Index n, Index i, Index j) {
      T sum = 0;
      for (Index k = 0; k < side; ++k)
        sum += gram_[at((n * side + i) * side + k)] * gram_[at((n * side + k) * side + j)];
      return sum;
    });
  }
  std::vector<T> times(const std::vector<T>& left, std::vector<T>& x) const {
    auto to = x;
    const Index side = stack.side();
    for (Index n = 0; n < stack.c.matrices; ++n)
      for (Index i = 0; i < stack.size(); ++i) {
        T sum = 0;
        for (Index k = 0; k < side; ++k)
          sum += left[at((n * side + i % side) * side + k)] * wide(x, n, k, i / side);
        wide(to, n, i % side, i / side) = sum;
      }
    return to;
  }
};

/// x (P), momenta that were normalised, becomes their orthogonal factors. Half of the steps are
/// taken in the Gram matrix alone, the others on x: both give the same.
template <class T>
void take_steps(const Stack<T>& stack, std::vector<T>& x, unsigned seed) {
  const Products<T> products{stack};
  for (std::size_t k = 0; k < std::size(kSteps); ++k) {
    auto gram = products.gram(x);
    const auto squared = products.squared(gram);
    const bool on_x = k % 2 == 1;
    launch(2, kMuonThreads, seed, [&] {
      gram_polynomial<T>(gram.data(), squared.data(), stack.c.matrices, stack.side(),
                         {on_x ? 0 : kSteps[k].a, kSteps[k].b, kSteps[k].c}, gram.data());
    });
    auto product = products.times(gram, x);
    if (on_x)
      launch(2, kMuonThreads, seed, [&] {
        add_product(kSteps[k].a, x.data(), product.data(), stack.count(), product.data());
      });
    x = product;
  }
}

template <class T>
Stack<T> moved_in_order(const MuonCase& shape, const Update& update, bool cautious, bool applies,
                        unsigned seed) {
  Stack<T> stack(shape);
  const Index parts = shape.matrices * pieces(stack.size(), kMatrixBlock);
  auto x = unwritten<T>(stack.count());
  auto squares = unwritten<double>(parts);
  launch(3, kMuonThreads, seed,
         [&] { muon_momentum(stack.memory(), stack.count(), &update, x.data()); });
  if (!applies) return stack;
  launch(static_cast<unsigned>(parts), kMuonThreads, seed,
         [&] { matrix_square_parts(x.data(), stack.size(), squares.data()); });
  launch(static_cast<unsigned>(parts), kMuonThreads, seed,
         [&] { normalise_matrices(x.data(), stack.size(), kMargin, squares.data(), x.data()); });
  take_steps(stack, x, seed);
  launch(3, kMuonThreads, seed, [&] {
    apply_muon(stack.memory(), stack.count(),
               {shape.rows, shape.columns, kRateScale, kMuonDecay, cautious}, x.data(), &update);
  });
  return stack;
}

template <class T>
Stack<T> moved_by_twin(const MuonCase& shape, const Update& update, bool cautious, bool applies) {
  Stack<T> stack(shape);
  std::vector<T> scratch(at(twin::orthogonalise_scratch<T>(shape.rows, shape.columns)));
  const double size = 0.2 * std::sqrt(static_cast<double>(std::max(shape.rows, shape.columns)));
  const double rate = update.learning_rate * kRateScale;
  for (Index n = 0; n < shape.matrices; ++n) {
    const Index first = n * stack.size();
    twin::muon_update<T>(
        {kSteps, std::size(kSteps), kMargin},
        {shape.rows, shape.columns, stack.parameters.data() + first, stack.gradients.data() + first,
         stack.momentum.data() + first, update.gradient_scale, update.momentum, rate * size,
         1 - rate * update.decay_scale * kMuonDecay, cautious, applies},
        scratch.data());
  }
  return stack;
}

template <class T>
class CudaMuon : public ::testing::Test {};
TYPED_TEST_SUITE(CudaMuon, FloatTypes);

TYPED_TEST(CudaMuon, AStepIsThatOfTheCpu) {
  for (const auto& shape : kMuonCases)
    for (const auto& update : kMuonSteps)
      for (const bool cautious : {false, true})
        for (const bool applies : {false, true}) {
          SCOPED_TRACE(shape.name);
          const auto [parameters, momentum] = in_every_order([&](unsigned seed) {
            return moved_in_order<TypeParam>(shape, update, cautious, applies, seed).parts();
          });
          const auto want = moved_by_twin<TypeParam>(shape, update, cautious, applies);
          expect_near(momentum, want.momentum, kNear<TypeParam>);
          expect_near(parameters, want.parameters, kMuonNear<TypeParam>);
        }
}

TYPED_TEST(CudaMuon, ARefusedUpdateLeavesWeightsAndMomentumAsTheyAre) {
  const MuonCase shape{"", 2, 3, 4};
  auto refused = kMuonSteps[0];
  refused.is_sound = 0;
  const auto moved = moved_in_order<TypeParam>(shape, refused, false, /*applies=*/true, 1);
  EXPECT_TRUE(same_bits(moved.parts(), Stack<TypeParam>(shape).parts()));
}

}  // namespace
}  // namespace moe::kernels::cuda
