#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>
#include <torch/nn/pimpl.h>

#include <vector>

#include "moe/kernels/skips.h"
#include "moe/model/context.h"
#include "moe/spec/model_spec.h"

namespace moe {

using kernels::SkipSources;

// What blocks read past the blocks before them. Shapes: B sequences, T positions, N = B*T, C width,
// R rows of a table.

/// A number that is learned.
class LambdaImpl : public torch::nn::Module {
 public:
  LambdaImpl();
  const at::Tensor& weight() const { return weight_; }

 private:
  at::Tensor weight_;  // (1)
};
TORCH_MODULE(Lambda);

/// One table: a row for each of R runs of n symbols.
class NgramTableImpl : public torch::nn::Module {
 public:
  NgramTableImpl(const NgramKeys& keys, std::int64_t width, std::int64_t symbols);
  /// ids (B, T + n - 1) -> (B, T, C): rows of the runs that end at the last T places, 0 where a run
  /// has none.
  at::Tensor forward(const at::Tensor& ids);
  kernels::NgramTable table() const { return {order_, runs_, weight_}; }

 private:
  std::int64_t order_, symbols_;
  at::Tensor runs_;    // (R) int64 the runs' numbers (run_number), sorted; on the CPU
  at::Tensor weight_;  // (R, C)
};
TORCH_MODULE(NgramTable);

/// All tables of a model, and the sum of a token's rows.
class NgramTablesImpl : public torch::nn::Module {
 public:
  explicit NgramTablesImpl(const ModelSpec& spec);
  /// ids (B, T) that follow `before` (B, reach), or, if that is undefined, begin a window
  /// -> (B, T, C), with dropout in training.
  at::Tensor forward(const at::Tensor& ids, const at::Tensor& before,
                     const ForwardContext& context);
  /// (B, reach) of the beginning of a window.
  at::Tensor outside(const at::Tensor& ids) const;
  kernels::NgramTables tables() const;

 private:
  std::int64_t symbols_, reach_;
  double dropout_;
  std::vector<NgramTable> tables_;
};
TORCH_MODULE(NgramTables);

}  // namespace moe
