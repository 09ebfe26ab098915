#pragma once

#include <ATen/core/Tensor.h>
#include <torch/nn/module.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/pimpl.h>

#include <cstdint>
#include <vector>

#include "moe/config/config.h"
#include "moe/kernels/expert_mixture.h"
#include "moe/kernels/layers.h"
#include "moe/model/context.h"

namespace moe {

// Shapes: N tokens, C n_embed, E num_experts, K top_k, F = 4C.

using kernels::Routing;

/// Gate values of the chosen experts from logits (N, E), by config.moe.gate.
Routing route_by_logits(const at::Tensor& logits, const MoeConfig& config);

/// x -> logits -> the K largest (makeMoE's TopkRouter).
class TopkRouterImpl : public torch::nn::Module {
 public:
  explicit TopkRouterImpl(const ModelConfig& config);
  Routing forward(const at::Tensor& x);  // x (N, C)
  kernels::LinearParameters route() const { return {linear_->weight, linear_->bias}; }

 private:
  MoeConfig config_;
  torch::nn::Linear linear_;
};
TORCH_MODULE(TopkRouter);

/// Noisy top-k gate (Shazeer et al. 2017, arXiv 1701.06538, eq. 3-5).
class NoisyTopkRouterImpl : public torch::nn::Module {
 public:
  explicit NoisyTopkRouterImpl(const ModelConfig& config);
  /// x (N, C); noise (N, E) standard normal, or undefined for none.
  Routing forward(const at::Tensor& x, const at::Tensor& noise);
  at::Tensor noise_std(const at::Tensor& x);  // (N, E)
  kernels::LinearParameters route() const {
    return {topkroute_linear_->weight, topkroute_linear_->bias};
  }
  kernels::LinearParameters noise() const { return {noise_linear_->weight, noise_linear_->bias}; }

 private:
  MoeConfig config_;
  torch::nn::Linear topkroute_linear_, noise_linear_;
};
TORCH_MODULE(NoisyTopkRouter);

/// (N, C) -> (N, C): Linear, ReLU, Linear over slices of its SparseMoE's stacked weights.
class ExpertImpl : public torch::nn::Module {
 public:
  ExpertImpl(kernels::ExpertWeights stacked, std::int64_t expert);
  at::Tensor forward(const at::Tensor& x);

 private:
  kernels::ExpertWeights stacked_;
  std::int64_t expert_;
};
TORCH_MODULE(Expert);

/// What one mixture layer yields.
struct MoeOutput {
  at::Tensor y;          // (B, T, C)
  at::Tensor load;       // (E) int64 on the CPU, tokens each expert served
  Routing routing = {};  // if the context keeps it
};

/// Routes every token to its K experts and sums what they answer, weighted by the gates.
class SparseMoEImpl : public torch::nn::Module {
 public:
  SparseMoEImpl(const ModelConfig& config, std::int64_t layer);
  MoeOutput forward(const at::Tensor& x, const ForwardContext& context);  // x (B, T, C)
  /// The same of norm(x), plus x, in one function, on the CPU.
  MoeOutput fused(const at::Tensor& x, const torch::nn::LayerNorm& norm,
                  const ForwardContext& context);

 private:
  Routing route(const at::Tensor& x, const ForwardContext& context);
  bool draws_noise(const ForwardContext& context) const;
  at::Tensor noise_draws(const at::Tensor& like, const ForwardContext& context) const;
  at::Tensor composed_experts(const at::Tensor& x, const Routing& routing,
                              const kernels::SlotTable& table, const at::Tensor& mask);

  ModelConfig config_;
  std::int64_t layer_;
  TopkRouter topk_{nullptr};
  NoisyTopkRouter noisy_{nullptr};
  kernels::ExpertWeights weights_;
  std::vector<Expert> experts_;
};
TORCH_MODULE(SparseMoE);

}  // namespace moe
