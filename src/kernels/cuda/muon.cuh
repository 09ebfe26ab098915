#pragma once

#include "guard.cuh"

// Muon but for its products of matrices, which are libtorch's, after kernels/cpu/muon.h and
// kernels/muon.cpp. Shapes: a stack of N matrices (rows, columns), P = N rows columns values; G is
// the Gram matrix of a matrix by its smaller side S.

namespace moe::kernels::cuda {

/// Of a stack, (P) each; momentum and parameters are changed in place.
template <class T>
struct MuonMemory {
  T* parameters;
  const T* gradients;
  T* momentum;
};

/// The momentum, and ahead (P), what it would be after one more step of the same gradient
/// (Nesterov). In a refused update nothing moves, and ahead is not written. Any grid, any block.
/// Twin: move_momentum and look_ahead.
template <class T>
__global__ void muon_momentum(MuonMemory<T> memory, Index count, const Update* update, T* ahead) {
  if (update->is_sound == 0) return;
  const T scale = static_cast<T>(update->gradient_scale), kept = static_cast<T>(update->momentum);
  const T rest = static_cast<T>(1 - update->momentum);
  for (Index i = grid_thread(); i < count; i += grid_threads()) {
    const T g = memory.gradients[i] * scale * rest, m = memory.momentum[i] * kept + g;
    memory.momentum[i] = m;
    ahead[i] = m * kept + g;
  }
}

constexpr Index kMatrixBlock = 16384;  // values of a matrix that one block works on

/// A block's stretch of its matrix, of `size` values: [begin, end) of the stack.
struct MatrixStretch {
  Index matrix, begin, end;
};
__device__ inline MatrixStretch matrix_stretch(Index size) {
  const Index each = pieces(size, kMatrixBlock), matrix = blockIdx.x / each;
  const Index first = blockIdx.x % each * kMatrixBlock, rest = size - first;
  return {matrix, matrix * size + first,
          matrix * size + first + (rest < kMatrixBlock ? rest : kMatrixBlock)};
}

/// parts (N, ceil(size / kMatrixBlock)): sums of squares of matrices of `size` values, in double.
/// Grid: the parts; block: any.
template <class T>
__global__ void matrix_square_parts(const T* values, Index size, double* parts) {
  const MatrixStretch mine = matrix_stretch(size);
  double sum = 0;
  for (Index i = mine.begin + threadIdx.x; i < mine.end; i += blockDim.x) {
    const double value = static_cast<double>(values[i]);
    sum += value * value;
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

/// x (P) = values (P), which it may be, over margin times the root of the sum of its matrix's
/// squares, so that no singular value is above 1 / margin; 0 stays 0. Grid: the parts; block: any.
/// Twin, with matrix_square_parts: the beginning of orthogonal_factor.
template <class T>
__global__ void normalise_matrices(const T* values, Index size, double margin, const double* parts,
                                   T* x) {
  constexpr double kSmallestNorm = 1e-6;
  const MatrixStretch mine = matrix_stretch(size);
  const Index each = pieces(size, kMatrixBlock);
  double sum = 0;  // by each thread, all in one order
  for (Index i = 0; i < each; ++i) sum += parts[mine.matrix * each + i];
  const T scale = static_cast<T>(1 / (margin * sqrt(sum) + kSmallestNorm));
  for (Index i = mine.begin + threadIdx.x; i < mine.end; i += blockDim.x) x[i] = values[i] * scale;
}

/// moe::kernels::OddPolynomial, of one step of Newton-Schulz.
struct Polynomial {
  double a, b, c;
};

/// to (N, S, S) = a I + b G + c G^2, by which a step multiplies x. squared is G^2; to may be either
/// of them. Any grid, any block. Twin: multiply_symmetric with its terms, in take_steps.
template <class T>
__global__ void gram_polynomial(const T* gram, const T* squared, Index matrices, Index side,
                                Polynomial step, T* to) {
  const T a = static_cast<T>(step.a), b = static_cast<T>(step.b), c = static_cast<T>(step.c);
  for (Index i = grid_thread(); i < matrices * side * side; i += grid_threads()) {
    const bool is_diagonal = i % side == i / side % side;
    to[i] = c * squared[i] + (b * gram[i] + (is_diagonal ? a : T{0}));
  }
}

/// to (P) = scale x + product, either of which it may be: a step on x itself, whose polynomial has
/// an a of 0. Any grid, any block. Twin: orthogonalise_reference.
template <class T>
__global__ void add_product(double scale, const T* x, const T* product, Index count, T* to) {
  const T a = static_cast<T>(scale);
  for (Index i = grid_thread(); i < count; i += grid_threads()) to[i] = a * x[i] + product[i];
}

/// How matrices move, apart from what changes from update to update.
struct MuonConstants {
  Index rows, columns;
  double learning_rate_scale, weight_decay;
  bool cautious;  // weights decay only where the update moves them towards 0
};

/// Parameters move by the orthogonal factors, direction (P); in a refused update they stay. Any
/// grid, any block. Twin: apply_direction, with update_size of
/// kernels/muon.cpp.
template <class T>
__global__ void apply_muon(MuonMemory<T> memory, Index count, MuonConstants constants,
                           const T* direction, const Update* update) {
  if (update->is_sound == 0) return;
  const Index longer = constants.rows > constants.columns ? constants.rows : constants.columns;
  // An update that moves each singular value by 1, in units of AdamW's updates.
  const double size = 0.2 * sqrt(static_cast<double>(longer));
  const double rate = update->learning_rate * constants.learning_rate_scale;
  const T step_size = static_cast<T>(rate * size);
  const T decay = static_cast<T>(1 - rate * (update->decay_scale * constants.weight_decay));
  const T otherwise = constants.cautious ? T{1} : decay;  // where the update moves away from 0
  for (Index i = grid_thread(); i < count; i += grid_threads()) {
    const T p = memory.parameters[i], step = direction[i] * step_size;
    memory.parameters[i] = p * (step * p >= 0 ? decay : otherwise) - step;
  }
}

}  // namespace moe::kernels::cuda
