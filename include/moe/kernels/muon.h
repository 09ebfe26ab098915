#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "moe/kernels/update_memory.h"
#include "moe/kernels/workspace.h"

namespace moe::kernels {

// Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon): the momentum of a matrix, made
// orthogonal, moves it. Shapes: N matrices (rows, columns) of one stack, each on its own.

/// x becomes a x + b (x x^T) x + c (x x^T)^2 x.
struct OddPolynomial {
  double a, b, c;
};
/// Newton-Schulz: such steps one after another, on x / (margin * |x| + 1e-6), where |x| is the root
/// of the sum of squares. They bring each singular value near 1.
struct NewtonSchulz {
  std::vector<OddPolynomial> steps;
  double margin;
};
/// Five steps of Polar Express (Amsel et al. 2025, arXiv 2505.16932) with a margin of safety: they
/// take singular values up to 1.02; those that were not small end between 0.85 and 1.15.
NewtonSchulz polar_express();
/// Four times the polynomial of Jordan et al.; singular values end between 0.68 and 1.21.
NewtonSchulz quintic();

/// Floating-point operations of one matrix (rows, columns), as the CPU's kernel does them.
double count_orthogonalise_flops(std::int64_t rows, std::int64_t columns, std::int64_t steps);

/// What a thread needs for a matrix (rows, columns) of floats [bytes].
std::int64_t orthogonalise_scratch_bytes(std::int64_t rows, std::int64_t columns);

/// Each matrix of each stack (N, rows, columns) becomes its orthogonal factor, as nearly as the
/// steps come to it; 0 stays 0. On the CPU bits do not depend on the number of threads.
void orthogonalise(std::span<const at::Tensor> stacks, const NewtonSchulz& newton_schulz,
                   Workspace& workspace);
/// The same in plain tensor operations, on x itself instead of its Gram matrix.
at::Tensor orthogonalise_reference(const at::Tensor& stack, const NewtonSchulz& newton_schulz);

/// Coefficients of one Muon update.
struct MuonStep {
  double learning_rate, momentum, weight_decay;
  double gradient_scale = 1;  // gradients count times this: clipping
  bool cautious = false;      // as AdamWStep's
  bool applies = true;        // else the momentum alone moves
};
/// The matrices of a stack, (N, rows, columns) each.
struct MuonStack {
  at::Tensor parameters, gradients, momentum;
  MuonStep at_step;
};

/// In place, with g the gradient and m the decay of the momentum: momentum = m momentum + (1 - m)
/// g; u is the orthogonal factor of (1 - m) g + m momentum (Nesterov), times 0.2 sqrt(max(rows,
/// columns)), which gives it the size of an AdamW update (Liu et al. 2025, arXiv 2502.16982);
/// parameters -= rate (u + decay * parameters). Gradients are only read.
void muon(std::span<const MuonStack> stacks, const NewtonSchulz& newton_schulz,
          Workspace& workspace);
/// The same of one stack in plain tensor operations; what runs on CUDA.
void muon_reference(const MuonStack& stack, const NewtonSchulz& newton_schulz);

/// What of Muon stays from update to update: its rate is the memory's times `learning_rate_scale`.
struct MuonConstants {
  double learning_rate_scale, weight_decay;
  bool cautious = false;
  bool applies = true;  // else the momentum alone moves
};
/// The same of parameters, gradients and momentum (N, rows, columns), where what changes lies on
/// the device: waits for nothing.
void muon_from_memory(const at::Tensor& parameters, const at::Tensor& gradients,
                      const at::Tensor& momentum, const MuonConstants& constants,
                      const NewtonSchulz& newton_schulz, const UpdateMemory& memory);

}  // namespace moe::kernels
