#pragma once

#include <cstdint>

namespace moe::kernels::cpu {

/// One AdamW update of values [begin, end) (Loshchilov and Hutter 2019, arXiv 1711.05101).
template <class T>
struct AdamWUpdate {
  T* parameters;
  const T* gradients;
  T *exp_avg, *exp_avg_sq;
  double gradient_scale;  // clipping
  double decay;           // 1 - lr * weight_decay
  double beta1, beta2, eps;
  double step_size;   // lr / (1 - beta1^t)
  double root_scale;  // (1 - beta2^t)^-0.5
  bool cautious;      // decay where the update moves towards 0 alone
};

/// moe/kernels/muon.h has the same.
struct OddPolynomial {
  double a, b, c;
};
struct NewtonSchulz {
  const OddPolynomial* steps;  // (count)
  std::int64_t count;
  double margin;
};
/// Steps that work on the Gram matrix alone before x itself is multiplied (docs/adr/0048).
inline constexpr std::int64_t kGramSteps = 3;
/// Added to the norm that a matrix is divided by, so that 0 stays 0.
inline constexpr double kSmallestNorm = 1e-6;

/// One Muon update of one matrix (rows, columns).
template <class T>
struct MuonUpdate {
  std::int64_t rows, columns;
  T* parameters;
  const T* gradients;
  T* momentum;
  double gradient_scale;  // clipping
  double momentum_decay;
  double step_size;  // of the orthogonal factor
  double decay;      // 1 - lr * weight_decay
  bool cautious;     // decay where the update moves towards 0 alone
  bool applies;      // else the momentum alone moves
};

}  // namespace moe::kernels::cpu
