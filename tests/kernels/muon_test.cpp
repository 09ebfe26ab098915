// Newton-Schulz in Gram matrices against its plain form, and what Muon makes of it.

#include "moe/kernels/muon.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/threads.h"

namespace moe::kernels {
namespace {

using test::relative_error;

/// In double the two forms differ by roundings of 1e-16, enlarged by the product of the steps'
/// largest coefficients, about 2000, and once more where a Gram matrix has lost it.
constexpr double kTwoForms = 1e-9;

/// Of the norm, in float with roundings of 6e-8, enlarged likewise: at most 2.5e-4 was measured, of
/// matrices that are nearly of rank one. The plain form in float errs as much; the Gram matrix
/// without a second start 2e-3.
constexpr double kFloatForm = 1e-3;

/// How far from 1 the five steps leave singular values that were not small: the last polynomial
/// waves by so much.
constexpr double kExpress = 0.15;

struct Shape {
  std::int64_t rows, columns;
};
/// Wide, tall and square ones, of whole panels and cut ones, of several tiles, summed in parts.
constexpr Shape kShapes[] = {{1, 1},   {1, 7},   {3, 5},    {5, 3},    {16, 16},  {17, 40},
                             {40, 17}, {64, 64}, {33, 100}, {100, 33}, {20, 1100}};

at::Tensor random_stack(std::int64_t count, Shape shape, at::ScalarType type = at::kDouble) {
  return at::randn({count, shape.rows, shape.columns}, at::TensorOptions(at::kDouble)).to(type);
}

at::Tensor orthogonalised(const at::Tensor& stack, const NewtonSchulz& steps) {
  auto out = stack.clone();
  Workspace workspace;
  orthogonalise(std::vector{out}, steps, workspace);
  return out;
}

at::Tensor singular_values(const at::Tensor& stack) {
  return at::linalg_svdvals(stack.to(at::kDouble));
}

std::string name_of(Shape shape) {
  return std::to_string(shape.rows) + " x " + std::to_string(shape.columns);
}

TEST(NewtonSchulz, InGramMatricesIsThePlainForm) {
  at::manual_seed(3);
  for (const auto& shape : kShapes) {
    SCOPED_TRACE(name_of(shape));
    const auto stack = random_stack(2, shape);
    for (const auto& steps : {polar_express(), quintic()})
      EXPECT_LE(relative_error(orthogonalised(stack, steps), orthogonalise_reference(stack, steps)),
                kTwoForms);
  }
}

/// A matrix U diag(values) V^T with the given singular values.
at::Tensor with_singular_values(const at::Tensor& values, Shape shape) {
  const auto [u, unused1] = at::linalg_qr(random_stack(1, {shape.rows, values.numel()}));
  const auto [v, unused2] = at::linalg_qr(random_stack(1, {shape.columns, values.numel()}));
  return (u * values).bmm(v.transpose(1, 2));
}

TEST(NewtonSchulz, TakesTheSingularValuesOfAWellConditionedMatrixNearOne) {
  at::manual_seed(4);
  const auto values = at::linspace(0.1, 1, 64, at::TensorOptions(at::kDouble));
  for (const auto& shape : {Shape{64, 170}, Shape{170, 64}, Shape{64, 64}})
    for (const auto type : {at::kDouble, at::kFloat}) {
      const auto matrix = with_singular_values(values, shape).to(type);
      const auto express = singular_values(orthogonalised(matrix, polar_express()));
      EXPECT_GT(express.min().item<double>(), 1 - kExpress) << name_of(shape);
      EXPECT_LT(express.max().item<double>(), 1 + kExpress) << name_of(shape);
      const auto plain = singular_values(orthogonalised(matrix, quintic()));
      EXPECT_GT(plain.min().item<double>(), 0.6) << name_of(shape);
      EXPECT_LT(plain.max().item<double>(), 1.25) << name_of(shape);
    }
}

/// Gradients as they come, and as they may come.
struct HardCase {
  const char* name;
  at::Tensor matrix;  // in double
};
std::vector<HardCase> hard_cases(Shape shape) {
  at::manual_seed(5);
  const auto one = random_stack(1, {shape.rows, 1}).bmm(random_stack(1, {1, shape.columns}));
  const auto noise = random_stack(1, shape);
  std::vector<HardCase> cases{{"random", noise},
                              {"rank one", one},
                              {"rank one and noise of 1e-2", one + 1e-2 * noise},
                              {"rank one and noise of 1e-4", one + 1e-4 * noise},
                              {"rank one and noise of 1e-6", one + 1e-6 * noise},
                              {"huge", 1e30 * noise},
                              {"small", 1e-4 * noise}};
  auto few = noise.clone();
  few.narrow(1, shape.rows / 4, shape.rows - shape.rows / 4).zero_();
  cases.push_back({"rows of zeros", few});
  const auto side = std::min(shape.rows, shape.columns);
  cases.push_back(
      {"singular values from 1 to 1e-6",
       with_singular_values(at::logspace(0, -6, side, 10, at::TensorOptions(at::kDouble)), shape)});
  return cases;
}

TEST(NewtonSchulz, InFloatStaysNearThePlainFormInDouble) {
  for (const auto& shape : {Shape{128, 341}, Shape{341, 128}, Shape{128, 128}})
    for (const auto& one : hard_cases(shape))
      for (const auto& steps : {polar_express(), quintic()}) {
        SCOPED_TRACE(std::string(one.name) + ", " + name_of(shape));
        const auto got = orthogonalised(one.matrix.to(at::kFloat), steps);
        const auto want = orthogonalise_reference(one.matrix.to(at::kFloat).to(at::kDouble), steps);
        EXPECT_LE((got - want).norm().item<double>(), kFloatForm * want.norm().item<double>());
        EXPECT_LT(singular_values(got).max().item<double>(), 1.25);
      }
}

TEST(NewtonSchulz, OfZeroIsZeroAndOfNearlyNothingIsNearlyNothing) {
  for (const auto& shape : kShapes) {
    const auto zeros = at::zeros({2, shape.rows, shape.columns});
    EXPECT_TRUE(orthogonalised(zeros, polar_express()).equal(zeros)) << name_of(shape);
    const auto nothing = orthogonalised(zeros + 1e-30, polar_express());
    EXPECT_LT(nothing.abs().max().item<double>(), 1e-15) << name_of(shape);
  }
}

TEST(NewtonSchulz, OfEachMatrixOfAStackIsThatOfItAlone) {
  at::manual_seed(6);
  for (const auto& shape : kShapes) {
    auto stack = random_stack(3, shape, at::kFloat);
    stack[0] *= 1e3;
    stack[1] *= 1e-2;
    const auto together = orthogonalised(stack, polar_express());
    for (std::int64_t n = 0; n < 3; ++n)
      EXPECT_TRUE(together.narrow(0, n, 1).equal(
          orthogonalised(stack.narrow(0, n, 1).contiguous(), polar_express())))
          << name_of(shape) << " " << n;
  }
}

/// Parameters, gradients and momentum of matrices of two shapes.
struct Matrices {
  explicit Matrices(at::ScalarType type) {
    at::manual_seed(7);
    for (const auto& shape : {Shape{33, 100}, Shape{20, 20}})
      stacks.push_back({random_stack(3, shape, type), random_stack(3, shape, type),
                        random_stack(3, shape, type), step()});
    stacks[1].at_step.applies = false;
  }
  static MuonStep step() {
    return {.learning_rate = 0.02, .momentum = 0.9, .weight_decay = 0.3, .gradient_scale = 0.5};
  }
  void move() {
    Workspace workspace;
    muon(stacks, polar_express(), workspace);
  }
  std::vector<MuonStack> stacks;
};

TEST(MuonKernel, EqualsThePlainFormInDouble) {
  for (const bool cautious : {false, true}) {
    Matrices ours(at::kDouble), plain(at::kDouble);
    const auto gradients = ours.stacks[0].gradients.clone();
    for (std::size_t i = 0; i < 2; ++i)
      ours.stacks[i].at_step.cautious = plain.stacks[i].at_step.cautious = cautious;
    for (int update = 0; update < 3; ++update) {
      ours.move();
      for (const auto& stack : plain.stacks) muon_reference(stack, polar_express());
    }
    for (std::size_t i = 0; i < 2; ++i) {
      EXPECT_LE(relative_error(ours.stacks[i].parameters, plain.stacks[i].parameters), kTwoForms);
      EXPECT_LE(relative_error(ours.stacks[i].momentum, plain.stacks[i].momentum), kTwoForms);
    }
    EXPECT_TRUE(ours.stacks[0].gradients.equal(gradients)) << "only read";
  }
}

TEST(MuonKernel, MovesByTheOrthogonalFactorOfTheMomentumAhead) {
  // The formula once more, by hand: a factor by singular values instead of Newton-Schulz.
  at::manual_seed(8);
  const auto values = at::linspace(0.5, 1, 12, at::TensorOptions(at::kDouble));
  const auto gradients = with_singular_values(values, {12, 30});
  auto parameters = at::zeros_like(gradients), momentum = at::zeros_like(gradients);
  Workspace workspace;
  muon(std::vector<MuonStack>{{parameters, gradients, momentum, Matrices::step()}}, polar_express(),
       workspace);
  const auto [u, unused, vh] = at::linalg_svd(gradients, /*full_matrices=*/false);
  const auto expected = u.bmm(vh) * (-0.02 * 0.2 * std::sqrt(30.0));
  EXPECT_LE(relative_error(parameters, expected), kExpress);
  EXPECT_LE(relative_error(momentum, gradients * 0.1 * 0.5), kTwoForms)
      << "the momentum itself is not normalised";
}

TEST(MuonKernel, DecaysCautiouslyWhereTheUpdateMovesTowardsZero) {
  const auto moved = [](bool cautious, double decay) {
    Matrices matrices(at::kDouble);
    auto& step = matrices.stacks[0].at_step;
    step.cautious = cautious;
    step.weight_decay = decay;
    matrices.move();
    return matrices.stacks[0].parameters;
  };
  const auto before = Matrices(at::kDouble).stacks[0].parameters;
  const auto without = moved(true, 0);
  const auto towards_zero = ((before - without) * before).ge(0);
  EXPECT_TRUE(towards_zero.any().item<bool>() && !towards_zero.all().item<bool>());
  EXPECT_LE(relative_error(without - moved(true, 0.3), 0.02 * 0.3 * before * towards_zero),
            kTwoForms);
  EXPECT_LE(relative_error(without - moved(false, 0.3), 0.02 * 0.3 * before), kTwoForms);
}

TEST(MuonKernel, WithoutATurnMovesTheMomentumAlone) {
  Matrices matrices(at::kDouble);
  const auto& resting = matrices.stacks[1];
  const auto parameters = resting.parameters.clone(), momentum = resting.momentum.clone();
  matrices.move();
  EXPECT_TRUE(resting.parameters.equal(parameters));
  EXPECT_LE(relative_error(resting.momentum, 0.9 * momentum + 0.1 * 0.5 * resting.gradients),
            kTwoForms);
}

TEST(MuonKernel, IsTheSameForAnyNumberOfThreads) {
  const auto moved = [](int threads) {
    const test::ThreadCount count(threads);
    Matrices matrices(at::kFloat);
    matrices.move();
    return matrices.stacks[0].parameters;
  };
  const auto one = moved(1);
  for (const int threads : {2, 3, 8}) EXPECT_TRUE(moved(threads).equal(one)) << threads;
}

TEST(MuonKernel, LeavesWhatLiesBesideItsMatrices) {
  std::vector<at::Tensor> wide;
  for (int i = 0; i < 3; ++i) wide.push_back(at::ones({2 * 15 + 2}));
  const auto inner = [&](std::size_t i) { return wide[i].narrow(0, 1, 30).view({2, 3, 5}); };
  Workspace workspace;
  muon(std::vector<MuonStack>{{inner(0), inner(1), inner(2), Matrices::step()}}, polar_express(),
       workspace);
  for (const auto& all : wide) EXPECT_EQ(all[0].item<double>() + all[31].item<double>(), 2);
  EXPECT_FALSE(inner(0).eq(1).any().item<bool>()) << "all between was moved";
}

TEST(MuonFlops, CountBlocksOnAndAboveTheDiagonalOfSymmetricProducts) {
  constexpr double kBlock = 2.0 * 16 * 16 * 16;  // of a product
  EXPECT_EQ(count_orthogonalise_flops(16, 16, 1), 3 * kBlock)
      << "Gram matrix, step, product with x";
  EXPECT_EQ(count_orthogonalise_flops(3, 20, 1), 2 * kBlock + kBlock + 2 * kBlock) << "padded";
  EXPECT_EQ(count_orthogonalise_flops(20, 3, 1), 5 * kBlock) << "turned";
  // Two panels: three blocks of depth two, and four for the wide product.
  EXPECT_EQ(count_orthogonalise_flops(32, 32, 1), (2 * 3 * 2 + 4 * 2) * kBlock);
  // Three steps: 3 squares, 2 totals, 2 times 2 for the next Gram matrix.
  EXPECT_EQ(count_orthogonalise_flops(16, 16, 3), (1 + 3 + 2 + 4 + 1) * kBlock);
}

}  // namespace
}  // namespace moe::kernels
