#include "moe/kernels/muon.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "kernels/layer_call.h"

namespace moe::kernels {

namespace {

/// Of an update that moves each singular value by 1, in units of AdamW's updates.
double update_size(std::int64_t rows, std::int64_t columns) {
  return 0.2 * std::sqrt(static_cast<double>(std::max(rows, columns)));
}

/// One matrix of a stack.
struct Piece {
  std::size_t stack;
  std::int64_t matrix;
};

/// All matrices, the largest first, so that no thread ends long after the others.
std::vector<Piece> pieces_of(std::span<const at::Tensor> stacks) {
  std::vector<Piece> pieces;
  for (std::size_t i = 0; i < stacks.size(); ++i) {
    TORCH_CHECK(stacks[i].dim() == 3 && stacks[i].is_contiguous(),
                "a stack of matrices is (N, rows, columns): ", stacks[i].sizes());
    for (std::int64_t n = 0; n < stacks[i].size(0); ++n) pieces.push_back({i, n});
  }
  const auto size = [&](const Piece& piece) {
    return stacks[piece.stack].size(1) * stacks[piece.stack].size(2);
  };
  std::ranges::stable_sort(pieces, std::ranges::greater(), size);
  return pieces;
}

/// What the largest needs; matrices of one size may differ in their smaller side.
template <class T>
std::int64_t scratch_of(std::span<const at::Tensor> stacks) {
  std::int64_t most = 0;
  for (const auto& stack : stacks)
    most = std::max(most, cpu::table<T>().orthogonalise_scratch(stack.size(1), stack.size(2)));
  return most;
}

/// Calls task(stack, matrix, scratch) for each matrix, on all threads.
template <class T, class Task>
void for_each_matrix(std::span<const at::Tensor> stacks, Workspace& workspace, const Task& task) {
  const auto pieces = pieces_of(stacks);
  Memory memory(&workspace, c10::CppTypeToScalarType<T>::value);
  run_with_scratch<T>(static_cast<std::int64_t>(pieces.size()), memory, scratch_of<T>(stacks),
                      [&](std::int64_t t, T* scratch) {
                        const auto& piece = pieces[static_cast<std::size_t>(t)];
                        task(piece.stack, piece.matrix, scratch);
                      });
}

/// Calls run(values of type T) for the type of the stacks.
template <class Run>
void with_type(const at::Tensor& like, const Run& run) {
  if (like.scalar_type() == at::kDouble) return run(double{});
  run(float{});
}

/// The steps as the CPU's kernel reads them; `steps` must outlive them.
cpu::NewtonSchulz arguments_of(const NewtonSchulz& newton_schulz,
                               std::vector<cpu::OddPolynomial>& steps) {
  for (const auto& step : newton_schulz.steps) steps.push_back({step.a, step.b, step.c});
  return {steps.data(), static_cast<std::int64_t>(steps.size()), newton_schulz.margin};
}

template <class T>
cpu::MuonUpdate<T> update_of(const MuonStack& stack) {
  const auto& at_step = stack.at_step;
  const auto rows = stack.parameters.size(1), columns = stack.parameters.size(2);
  return {rows,
          columns,
          stack.parameters.mutable_data_ptr<T>(),
          stack.gradients.const_data_ptr<T>(),
          stack.momentum.mutable_data_ptr<T>(),
          at_step.gradient_scale,
          at_step.momentum,
          at_step.learning_rate * update_size(rows, columns),
          1 - at_step.learning_rate * at_step.weight_decay,
          at_step.cautious,
          at_step.applies};
}

template <class T>
void muon_on_cpu(std::span<const MuonStack> stacks, const NewtonSchulz& newton_schulz,
                 Workspace& workspace) {
  std::vector<cpu::OddPolynomial> steps;
  const auto arguments = arguments_of(newton_schulz, steps);
  std::vector<at::Tensor> parameters;
  std::vector<cpu::MuonUpdate<T>> updates;
  for (const auto& stack : stacks) {
    parameters.push_back(stack.parameters);
    updates.push_back(update_of<T>(stack));
  }
  for_each_matrix<T>(parameters, workspace, [&](std::size_t i, std::int64_t n, T* scratch) {
    auto update = updates[i];
    const auto offset = n * update.rows * update.columns;
    update.parameters += offset;
    update.gradients += offset;
    update.momentum += offset;
    cpu::table<T>().muon(arguments, update, scratch);
  });
}

/// Operations of a product of symmetric matrices (side, side), or of a Gram matrix.
double symmetric_flops(std::int64_t side, std::int64_t depth) {
  const auto panels = side / cpu::kPanel;
  return static_cast<double>(panels * (panels + 1) / 2) * cpu::kPanel * cpu::kPanel * 2 *
         static_cast<double>(depth);
}

/// What an update moves, (N, rows, columns) each.
struct MuonValues {
  at::Tensor parameters, momentum;
};
/// What it moves them by, () double each.
struct MuonNumbers {
  at::Tensor learning_rate, momentum, decay_scale, gradient_scale;
};

/// One update in plain tensor operations; the parameters as they were unless it applies.
MuonValues muon_moved(const MuonValues& before, const at::Tensor& gradients,
                      const MuonConstants& constants, const NewtonSchulz& newton_schulz,
                      const MuonNumbers& at_step) {
  const auto fresh = gradients * (at_step.gradient_scale * (1 - at_step.momentum));
  MuonValues out{before.parameters, before.momentum * at_step.momentum + fresh};
  if (!constants.applies) return out;
  const auto rate = at_step.learning_rate * constants.learning_rate_scale;
  const auto size = update_size(before.parameters.size(1), before.parameters.size(2));
  const auto step =
      orthogonalise_reference(out.momentum * at_step.momentum + fresh, newton_schulz) *
      (rate * size);
  auto decayed = before.parameters * (1 - rate * (at_step.decay_scale * constants.weight_decay));
  if (constants.cautious)
    decayed = at::where((step * before.parameters).ge(0), decayed, before.parameters);
  out.parameters = decayed - step;
  return out;
}

}  // namespace

NewtonSchulz polar_express() {
  return {{{8.1566, -22.4833, 15.8788},
           {4.0429, -2.8089, 0.5000},
           {3.8917, -2.7725, 0.5061},
           {3.2858, -2.3681, 0.4645},
           {2.3465, -1.7098, 0.4232}},
          1.01};
}

NewtonSchulz quintic() { return {std::vector<OddPolynomial>(4, {3.4445, -4.7750, 2.0315}), 1}; }

double count_orthogonalise_flops(std::int64_t rows, std::int64_t columns, std::int64_t steps) {
  const auto side = cpu::padded(std::min(rows, columns)),
             width = cpu::padded(std::max(rows, columns));
  double flops = 0;
  for (std::int64_t first = 0; first < steps; first += cpu::kGramSteps) {
    const auto together = std::min(cpu::kGramSteps, steps - first);
    // G^2 for each step; for each but the first the total, for each but the last G's two.
    flops += symmetric_flops(side, width) +
             static_cast<double>(4 * together - 3) * symmetric_flops(side, side) +
             2 * static_cast<double>(side) * static_cast<double>(side) * static_cast<double>(width);
  }
  return flops;
}

std::int64_t orthogonalise_scratch_bytes(std::int64_t rows, std::int64_t columns) {
  const auto values = scratch_stride(cpu::table<float>().orthogonalise_scratch(rows, columns));
  return values * static_cast<std::int64_t>(sizeof(float));
}

void orthogonalise(std::span<const at::Tensor> stacks, const NewtonSchulz& newton_schulz,
                   Workspace& workspace) {
  if (stacks.empty()) return;
  if (!stacks[0].is_cpu()) {
    for (const auto& stack : stacks) stack.copy_(orthogonalise_reference(stack, newton_schulz));
    return;
  }
  std::vector<cpu::OddPolynomial> steps;
  const auto arguments = arguments_of(newton_schulz, steps);
  with_type(stacks[0], [&](auto type) {
    using T = decltype(type);
    for_each_matrix<T>(stacks, workspace, [&](std::size_t i, std::int64_t n, T* scratch) {
      const auto& stack = stacks[i];
      cpu::table<T>().orthogonalise(arguments, stack.size(1), stack.size(2),
                                    stack.mutable_data_ptr<T>() + n * stack.size(1) * stack.size(2),
                                    scratch);
    });
  });
}

at::Tensor orthogonalise_reference(const at::Tensor& stack, const NewtonSchulz& newton_schulz) {
  const bool is_tall = stack.size(1) > stack.size(2);
  auto x = is_tall ? stack.transpose(1, 2) : stack;
  const auto norms = x.to(at::kDouble).square().sum({1, 2}, /*keepdim=*/true).sqrt();
  x = x * (1 / (newton_schulz.margin * norms + cpu::kSmallestNorm)).to(x.scalar_type());
  for (const auto& step : newton_schulz.steps) {
    const auto gram = x.bmm(x.transpose(1, 2));
    x = step.a * x + (step.b * gram + step.c * gram.bmm(gram)).bmm(x);
  }
  return is_tall ? x.transpose(1, 2).contiguous() : x;
}

void muon(std::span<const MuonStack> stacks, const NewtonSchulz& newton_schulz,
          Workspace& workspace) {
  if (stacks.empty()) return;
  if (!stacks[0].parameters.is_cpu()) {
    for (const auto& stack : stacks) muon_reference(stack, newton_schulz);
    return;
  }
  with_type(stacks[0].parameters,
            [&](auto type) { muon_on_cpu<decltype(type)>(stacks, newton_schulz, workspace); });
}

void muon_reference(const MuonStack& stack, const NewtonSchulz& newton_schulz) {
  const auto& at_step = stack.at_step;
  const auto number = [](double value) { return at::scalar_tensor(value, at::kDouble); };
  const auto moved =
      muon_moved({stack.parameters, stack.momentum}, stack.gradients,
                 {1, at_step.weight_decay, at_step.cautious, at_step.applies}, newton_schulz,
                 {number(at_step.learning_rate), number(at_step.momentum), number(1),
                  number(at_step.gradient_scale)});
  stack.momentum.copy_(moved.momentum);
  if (at_step.applies) stack.parameters.copy_(moved.parameters);
}

void muon_from_memory(const at::Tensor& parameters, const at::Tensor& gradients,
                      const at::Tensor& momentum, const MuonConstants& constants,
                      const NewtonSchulz& newton_schulz, const UpdateMemory& memory) {
  const auto moved = muon_moved(
      {parameters, momentum}, gradients, constants, newton_schulz,
      {memory[kLearningRate], memory[kMomentum], memory[kDecayScale], memory[kGradientScale]});
  memory.keep(momentum, moved.momentum);
  if (constants.applies) memory.keep(parameters, moved.parameters);
}

}  // namespace moe::kernels
