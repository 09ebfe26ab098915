#include "moe/model/moe.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

namespace moe {

namespace {

constexpr std::int64_t kExpansion = 4;  // expert width F over n_embed, as published

/// int(N * K / E * capacity_factor), at least 1; -1 where nothing is to be dropped.
std::int64_t expert_capacity(const MoeConfig& config, std::int64_t tokens, bool training) {
  if (!training || !config.capacity_factor) return -1;
  const auto share = static_cast<double>(tokens) * static_cast<double>(config.top_k) /
                     static_cast<double>(config.num_experts);
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(share * *config.capacity_factor));
}

kernels::GateKind gate_kind(Gate gate) {
  switch (gate) {
    case Gate::topk_softmax:
      return kernels::GateKind::topk_softmax;
    case Gate::softmax_topk:
      return kernels::GateKind::softmax_topk;
    case Gate::sigmoid:
      return kernels::GateKind::sigmoid;
  }
  TORCH_CHECK(false, "no such gate");
}

}  // namespace

Routing route_by_logits(const at::Tensor& logits, const MoeConfig& config) {
  if (config.gate == Gate::topk_softmax) {
    const auto [chosen, experts] = logits.topk(config.top_k, -1);
    // Softmax over the K kept logits equals the original's softmax over E with -inf elsewhere.
    return {chosen.softmax(-1), experts};
  }
  if (config.gate == Gate::softmax_topk) {
    const auto [gates, experts] = logits.softmax(-1).topk(config.top_k, -1);
    return {gates, experts};
  }
  // Sigmoids over their sum, as a softmax of their logarithms: far from 0 sigmoids are 0 or equal.
  const auto [chosen, experts] = logits.topk(config.top_k, -1);
  return {at::log_sigmoid(chosen).softmax(-1), experts};
}

TopkRouterImpl::TopkRouterImpl(const ModelConfig& config)
    : config_(config.moe),
      linear_(
          register_module("linear", torch::nn::Linear(config.n_embed, config.moe.num_experts))) {}

Routing TopkRouterImpl::forward(const at::Tensor& x) {
  const auto logits = linear_(x);  // (N, E)
  auto routing = route_by_logits(logits, config_);
  routing.logits = logits;
  return routing;
}

NoisyTopkRouterImpl::NoisyTopkRouterImpl(const ModelConfig& config)
    : config_(config.moe),
      topkroute_linear_(register_module("topkroute_linear",
                                        torch::nn::Linear(config.n_embed, config.moe.num_experts))),
      noise_linear_(register_module("noise_linear",
                                    torch::nn::Linear(config.n_embed, config.moe.num_experts))) {}

Routing NoisyTopkRouterImpl::forward(const at::Tensor& x, const at::Tensor& noise) {
  const auto logits = topkroute_linear_(x);  // (N, E)
  auto routing = route_by_logits(noise.defined() ? logits + noise * noise_std(x) : logits, config_);
  routing.logits = logits;
  return routing;
}

at::Tensor NoisyTopkRouterImpl::noise_std(const at::Tensor& x) {
  return at::softplus(noise_linear_(x));
}

ExpertImpl::ExpertImpl(kernels::ExpertWeights stacked, std::int64_t expert)
    : stacked_(std::move(stacked)), expert_(expert) {}

at::Tensor ExpertImpl::forward(const at::Tensor& x) {
  const auto hidden = at::linear(x, stacked_.w1[expert_], stacked_.b1[expert_]).relu();
  return at::linear(hidden, stacked_.w2[expert_], stacked_.b2[expert_]);
}

SparseMoEImpl::SparseMoEImpl(const ModelConfig& config, std::int64_t layer)
    : config_(config), layer_(layer) {
  if (config.moe.router == RouterKind::topk)
    topk_ = register_module("router", TopkRouter(config));
  else
    noisy_ = register_module("router", NoisyTopkRouter(config));
  const auto e = config.moe.num_experts, c = config.n_embed, f = kExpansion * c;
  weights_.w1 = register_parameter("w1", at::empty({e, f, c}));
  weights_.b1 = register_parameter("b1", at::empty({e, f}));
  weights_.w2 = register_parameter("w2", at::empty({e, c, f}));
  weights_.b2 = register_parameter("b2", at::empty({e, c}));
  for (std::int64_t expert = 0; expert < e; ++expert) experts_.emplace_back(weights_, expert);
}

MoeOutput SparseMoEImpl::forward(const at::Tensor& x, const ForwardContext& context) {
  const auto c = config_.n_embed, k = config_.moe.top_k;
  const auto tokens = x.reshape({-1, c});
  const auto n = tokens.size(0);
  const auto routing = route(tokens, context);
  const auto table = kernels::make_slot_table(routing.experts, config_.moe.num_experts,
                                              expert_capacity(config_.moe, n, context.training));
  at::Tensor mask;  // (N, K, C)
  if (context.training && config_.dropout > 0)
    mask = kernels::dropout_mask(context.rows, k * kernels::whole_blocks(c), config_.dropout,
                                 draw_key(context, layer_, DrawKind::expert_dropout), x)
               .view({n, k, kernels::whole_blocks(c)})
               .narrow(2, 0, c)
               .contiguous();
  const auto y = config_.kernels == Kernels::reference
                     ? composed_experts(tokens, routing, table, mask)
                     : kernels::expert_mixture(tokens, routing.gates, mask, table, weights_);
  MoeOutput out{y.view(x.sizes()), table.load.cpu()};
  if (context.keeps_routing) {
    out.routing = {routing.gates.detach(), routing.experts, routing.logits.detach()};
    if (noisy_) out.routing.noise_std = noisy_->noise_std(tokens).detach();
  }
  return out;
}

Routing SparseMoEImpl::route(const at::Tensor& x, const ForwardContext& context) {
  return topk_ ? topk_->forward(x) : noisy_->forward(x, noise_draws(x, context));
}

bool SparseMoEImpl::draws_noise(const ForwardContext& context) const {
  return context.noise.defined() || context.training || config_.moe.noise_in_eval;
}

at::Tensor SparseMoEImpl::noise_draws(const at::Tensor& like, const ForwardContext& context) const {
  if (context.noise.defined()) return context.noise[layer_];
  if (!draws_noise(context)) return {};
  return kernels::normal_draws(context.rows, config_.moe.num_experts,
                               draw_key(context, layer_, DrawKind::router_noise), like);
}

MoeOutput SparseMoEImpl::fused(const at::Tensor& x, const torch::nn::LayerNorm& norm,
                               const ForwardContext& context) {
  kernels::MixtureParameters parameters;
  parameters.norm = norm_parameters(norm);
  parameters.route = topk_ ? topk_->route() : noisy_->route();
  if (noisy_) {
    parameters.noise = noisy_->noise();
    parameters.noisy = draws_noise(context);
    parameters.noise_draw = draw_key(context, layer_, DrawKind::router_noise);
    if (context.noise.defined()) parameters.draws = context.noise[layer_].contiguous();
  }
  parameters.w1 = weights_.w1;
  parameters.b1 = weights_.b1;
  parameters.w2 = weights_.w2;
  parameters.b2 = weights_.b2;
  parameters.gate = gate_kind(config_.moe.gate);
  parameters.top_k = config_.moe.top_k;
  parameters.capacity = expert_capacity(config_.moe, x.numel() / config_.n_embed, context.training);
  parameters.dropout_draw = draw_key(context, layer_, DrawKind::expert_dropout);
  auto result = kernels::mixture_layer(x, parameters, layer_run(context, config_));
  return {std::move(result.out), std::move(result.load), std::move(result.routing)};
}

at::Tensor SparseMoEImpl::composed_experts(const at::Tensor& x, const Routing& routing,
                                           const kernels::SlotTable& table,
                                           const at::Tensor& mask) {
  const auto k = routing.gates.size(1);
  const auto gates = routing.gates.reshape({-1, 1});                      // (N*K, 1)
  const auto masks = mask.defined() ? mask.flatten(0, 1) : at::Tensor();  // (N*K, C)
  const auto load = table.load.cpu(), first_panel = table.first_panel.cpu();
  auto y = at::zeros_like(x);
  for (std::int64_t e = 0; e < config_.moe.num_experts; ++e) {
    const auto begin = first_panel[e].item<std::int64_t>() * kernels::kPanelSlots;
    const auto slots =
        table.slots.flatten().narrow(0, begin, load[e].item<std::int64_t>()).to(at::kLong);
    const auto tokens = slots.div(k, "floor");
    auto answer = experts_[static_cast<std::size_t>(e)]->forward(x.index_select(0, tokens));
    if (masks.defined()) answer = answer * masks.index_select(0, slots);
    y = y.index_add(0, tokens, answer * gates.index_select(0, slots));
  }
  return y;
}

}  // namespace moe
