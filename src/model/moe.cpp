#include "moe/model/moe.h"

#include <ATen/ATen.h>

#include "moe/kernels/activation.h"

namespace moe {

namespace {

torch::nn::Linear router_linear(std::int64_t width, const FeedForwardSpec& spec) {
  return torch::nn::Linear(torch::nn::LinearOptions(width, spec.experts).bias(spec.bias));
}

/// x through expert `e` of stacked Linears, whose biases may be undefined. Two in one, as a gated
/// expert has them, answer side by side.
at::Tensor apply_linear(const at::Tensor& x, const at::Tensor& weights, const at::Tensor& biases,
                        std::int64_t e) {
  const auto weight = weights[e].reshape({-1, x.size(-1)});
  return biases.defined() ? at::linear(x, weight, biases[e].flatten()) : at::linear(x, weight);
}

}  // namespace

Routing route_by_logits(const at::Tensor& logits, Gate gate, std::int64_t top_k) {
  if (gate == Gate::softmax_topk) {
    const auto [gates, experts] = logits.softmax(-1).topk(top_k, -1);
    return {gates, experts};
  }
  const auto [chosen, experts] = logits.topk(top_k, -1);
  // Softmax over the K kept logits equals the original's softmax over E with -inf elsewhere.
  if (gate == Gate::topk_softmax) return {chosen.softmax(-1), experts};
  // Sigmoids over their sum, as a softmax of their logarithms: far from 0 sigmoids are 0 or equal.
  return {at::log_sigmoid(chosen).softmax(-1), experts};
}

TopkRouterImpl::TopkRouterImpl(std::int64_t width, const FeedForwardSpec& spec)
    : spec_(spec), linear_(register_module("linear", router_linear(width, spec))) {}

Routing TopkRouterImpl::forward(const at::Tensor& x) {
  const auto logits = linear_(x);  // (N, E)
  auto routing = route_by_logits(logits, spec_.gate, spec_.top_k);
  routing.logits = logits;
  return routing;
}

NoisyTopkRouterImpl::NoisyTopkRouterImpl(std::int64_t width, const FeedForwardSpec& spec)
    : spec_(spec),
      topkroute_linear_(register_module("topkroute_linear", router_linear(width, spec))),
      noise_linear_(register_module("noise_linear", router_linear(width, spec))) {}

Routing NoisyTopkRouterImpl::forward(const at::Tensor& x, const at::Tensor& noise) {
  const auto logits = topkroute_linear_(x);  // (N, E)
  auto routing = route_by_logits(noise.defined() ? logits + noise * noise_std(x) : logits,
                                 spec_.gate, spec_.top_k);
  routing.logits = logits;
  return routing;
}

at::Tensor NoisyTopkRouterImpl::noise_std(const at::Tensor& x) {
  return at::softplus(noise_linear_(x));
}

ExpertImpl::ExpertImpl(kernels::ExpertWeights stacked, Activation activation, std::int64_t expert)
    : stacked_(std::move(stacked)), activation_(activation), expert_(expert) {}

at::Tensor ExpertImpl::forward(const at::Tensor& x) {
  const auto hidden =
      kernels::activate(activation_, apply_linear(x, stacked_.w1, stacked_.b1, expert_));
  return apply_linear(hidden, stacked_.w2, stacked_.b2, expert_);
}

SparseMoEImpl::SparseMoEImpl(const ModelSpec& spec, std::int64_t layer)
    : spec_(spec.layers[static_cast<std::size_t>(layer)].feed_forward),
      layer_(layer),
      dropout_(spec.dropout.expert) {
  if (spec_.router == RouterKind::topk)
    topk_ = register_module("router", TopkRouter(spec.width, spec_));
  else
    noisy_ = register_module("router", NoisyTopkRouter(spec.width, spec_));
  const auto e = spec_.experts, c = spec.width, f = spec_.width;
  const bool gated = is_gated(spec_.activation);
  const auto up = [&](const char* name, std::vector<std::int64_t> shape) {
    if (gated) shape.insert(shape.begin() + 1, 2);
    return register_parameter(name, at::empty(shape));
  };
  weights_.w1 = up("w1", {e, f, c});
  if (spec_.bias) weights_.b1 = up("b1", {e, f});
  weights_.w2 = register_parameter("w2", at::empty({e, c, f}));
  if (spec_.bias) weights_.b2 = register_parameter("b2", at::empty({e, c}));
  for (std::int64_t expert = 0; expert < e; ++expert)
    experts_.emplace_back(weights_, spec_.activation, expert);
}

MoeOutput SparseMoEImpl::forward(const at::Tensor& x, const ForwardContext& context) {
  const auto tokens = x.reshape({-1, x.size(-1)});
  const auto where = dispatch(tokens, context);
  const auto& [routing, table, mask] = where;
  const auto k = spec_.top_k;
  const auto gates = routing.gates.reshape({-1, 1});              // (N*K, 1)
  const auto masks = mask.defined() ? mask.flatten(0, 1) : mask;  // (N*K, C)
  const auto load = table.load.cpu(), first_panel = table.first_panel.cpu();
  auto y = at::zeros_like(tokens);
  for (std::int64_t e = 0; e < spec_.experts; ++e) {
    const auto begin = first_panel[e].item<std::int64_t>() * kernels::kPanelSlots;
    const auto slots =
        table.slots.flatten().narrow(0, begin, load[e].item<std::int64_t>()).to(at::kLong);
    const auto served = slots.div(k, "floor");  // tokens
    auto answer = experts_[static_cast<std::size_t>(e)]->forward(tokens.index_select(0, served));
    if (masks.defined()) answer = answer * masks.index_select(0, slots);
    y = y.index_add(0, served, answer * gates.index_select(0, slots));
  }
  return output(x, y, where, context);
}

Dispatch SparseMoEImpl::dispatch(const at::Tensor& tokens, const ForwardContext& context) {
  auto routing = route(tokens, context);
  const auto capacity = context.training ? expert_capacity(spec_, tokens.size(0)) : -1;
  auto table = kernels::make_slot_table(routing.experts, spec_.experts, capacity);
  return {std::move(routing), std::move(table), answers_mask(tokens, context)};
}

MoeOutput SparseMoEImpl::output(const at::Tensor& x, const at::Tensor& y, const Dispatch& dispatch,
                                const ForwardContext& context) {
  MoeOutput out{y.view(x.sizes()), dispatch.table.load.cpu()};
  if (!context.keeps_routing) return out;
  const auto& routing = dispatch.routing;
  out.routing = {routing.gates.detach(), routing.experts, routing.logits.detach()};
  if (noisy_) out.routing.noise_std = noisy_->noise_std(x.reshape({-1, x.size(-1)})).detach();
  return out;
}

Routing SparseMoEImpl::route(const at::Tensor& tokens, const ForwardContext& context) {
  return topk_ ? topk_->forward(tokens) : noisy_->forward(tokens, noise_draws(tokens, context));
}

bool SparseMoEImpl::draws_noise(const ForwardContext& context) const {
  return context.noise.defined() || context.training || spec_.noise_in_eval;
}

at::Tensor SparseMoEImpl::noise_draws(const at::Tensor& like, const ForwardContext& context) const {
  if (context.noise.defined()) return context.noise[layer_];
  if (!draws_noise(context)) return {};
  return kernels::normal_draws(context.rows, spec_.experts,
                               draw_key(context, layer_, DrawKind::router_noise), like);
}

at::Tensor SparseMoEImpl::answers_mask(const at::Tensor& tokens,
                                       const ForwardContext& context) const {
  if (!context.training || dropout_ == 0) return {};
  const auto n = tokens.size(0), c = tokens.size(1), k = spec_.top_k;
  const auto padded = kernels::whole_blocks(c);
  return kernels::dropout_mask(context.rows, k * padded, dropout_,
                               draw_key(context, layer_, DrawKind::expert_dropout), tokens)
      .view({n, k, padded})
      .narrow(2, 0, c)
      .contiguous();
}

}  // namespace moe
