#include "moe/kernels/adamw.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <cmath>
#include <vector>

#include "moe/optim/optim.h"

namespace moe {

namespace {

constexpr std::int64_t kChunk = 1 << 16;  // values a partial sum: fixed, so that sums never vary

template <class T>
double sum_of_squares(const T* data, std::int64_t count) {
  std::vector<double> partial(static_cast<std::size_t>((count + kChunk - 1) / kChunk));
  at::parallel_for(0, static_cast<std::int64_t>(partial.size()), 1,
                   [&](std::int64_t begin, std::int64_t end) {
                     for (auto chunk = begin; chunk < end; ++chunk) {
                       // Eight running sums, so that the compiler can use vectors.
                       double sums[8] = {};
                       const auto first = chunk * kChunk, last = std::min(count, first + kChunk);
                       for (auto i = first; i < last; ++i) {
                         const auto value = static_cast<double>(data[i]);
                         sums[(i - first) % 8] += value * value;
                       }
                       for (const auto sum : sums) partial[static_cast<std::size_t>(chunk)] += sum;
                     }
                   });
  double total = 0;
  for (const auto sum : partial) total += sum;
  return total;
}

}  // namespace

double l2_norm(const at::Tensor& flat) {
  // at::norm in float reads 0.12 % low on nine million values: the sum is in double.
  if (!flat.is_cpu()) return flat.to(at::kDouble).norm().item<double>();
  if (flat.scalar_type() == at::kDouble)
    return std::sqrt(sum_of_squares(flat.const_data_ptr<double>(), flat.numel()));
  return std::sqrt(sum_of_squares(flat.const_data_ptr<float>(), flat.numel()));
}

void clip_gradients(at::Tensor& gradients, double norm, double max_norm) {
  if (norm > max_norm) gradients.mul_(max_norm / norm);
}

AdamW::AdamW(const OptimConfig& config, const at::Tensor& parameters)
    : exp_avg(at::zeros_like(parameters)),
      exp_avg_sq(at::zeros_like(parameters)),
      beta1_(config.betas[0]),
      beta2_(config.betas[1]),
      eps_(config.eps),
      weight_decay_(config.weight_decay) {}

void AdamW::step(at::Tensor& parameters, at::Tensor& gradients, double learning_rate) {
  ++steps;
  kernels::adamw(parameters, gradients, exp_avg, exp_avg_sq,
                 {learning_rate, beta1_, beta2_, eps_, weight_decay_, steps});
}

}  // namespace moe
