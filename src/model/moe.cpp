#include "moe/model/moe.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "model/side_loss.h"
#include "moe/kernels/activation.h"
#include "moe/kernels/slot_table.h"
#include "moe/spec/hash_router.h"

namespace moe {

namespace {

torch::nn::Linear router_linear(std::int64_t width, const FeedForwardSpec& spec) {
  return torch::nn::Linear(torch::nn::LinearOptions(width, spec.experts).bias(spec.bias));
}

at::Tensor register_balance_bias(torch::nn::Module& router, const FeedForwardSpec& spec) {
  if (!spec.balance.has_bias()) return {};
  return router.register_parameter("balance_bias", at::zeros({spec.experts}),
                                   /*requires_grad=*/false);
}

/// Where the K largest of values (N, E) stand, the largest first; of equal ones the first, which
/// topk does not promise. (N, K).
at::Tensor largest(const at::Tensor& values, std::int64_t top_k) {
  const auto order = std::get<1>(values.sort(/*stable=*/true, -1, /*descending=*/true));
  return order.narrow(1, 0, top_k).contiguous();
}

/// x through expert `e` of stacked Linears, whose biases may be undefined. Two in one, as a gated
/// expert has them, answer side by side.
at::Tensor apply_linear(const at::Tensor& x, const at::Tensor& weights, const at::Tensor& biases,
                        std::int64_t e) {
  const auto weight = weights[e].reshape({-1, x.size(-1)});
  return biases.defined() ? at::linear(x, weight, biases[e].flatten()) : at::linear(x, weight);
}

}  // namespace

at::Tensor gates_of(const at::Tensor& logits, const at::Tensor& experts,
                    const FeedForwardSpec& spec) {
  if (spec.gate == Gate::softmax_topk) return logits.softmax(-1).gather(1, experts);
  const auto chosen = logits.gather(1, experts);
  // Softmax over the K kept logits equals the original's softmax over E with -inf elsewhere.
  if (spec.gate == Gate::topk_softmax) return chosen.softmax(-1);
  if (!spec.gate_norm) return chosen.sigmoid() * spec.gate_scale;
  // Sigmoids over their sum, as a softmax of their logarithms: far from 0 sigmoids are 0 or equal.
  return at::log_sigmoid(chosen).softmax(-1) * spec.gate_scale;
}

Routing route_by_logits(const at::Tensor& logits, const FeedForwardSpec& spec,
                        const at::Tensor& choice_bias) {
  auto values = logits.detach();
  if (choice_bias.defined()) {
    const auto scores = spec.gate == Gate::sigmoid ? values.sigmoid() : values.softmax(-1);
    values = at::where(values.isneginf(), values, scores + choice_bias);  // masked stays masked
  }
  const auto experts = largest(values, spec.top_k);
  return {gates_of(logits, experts, spec), experts};
}

TopkRouterImpl::TopkRouterImpl(std::int64_t width, const FeedForwardSpec& spec)
    : spec_(spec),
      linear_(register_module("linear", router_linear(width, spec))),
      balance_bias_(register_balance_bias(*this, spec)) {}

at::Tensor hash_experts(std::int64_t vocab, std::int64_t experts, std::int64_t top_k) {
  const auto out = at::empty({vocab, top_k}, at::kInt);
  std::ranges::copy(hashed_experts(vocab, experts, top_k), out.mutable_data_ptr<std::int32_t>());
  return out;
}

Routing TopkRouterImpl::forward(const at::Tensor& x, const at::Tensor& given) {
  const auto logits = linear_(x);  // (N, E)
  auto routing = given.defined() ? Routing{gates_of(logits, given, spec_), given}
                                 : route_by_logits(logits, spec_, balance_bias_);
  routing.logits = logits;
  return routing;
}

NoisyTopkRouterImpl::NoisyTopkRouterImpl(std::int64_t width, const FeedForwardSpec& spec)
    : spec_(spec),
      topkroute_linear_(register_module("topkroute_linear", router_linear(width, spec))),
      noise_linear_(register_module("noise_linear", router_linear(width, spec))),
      balance_bias_(register_balance_bias(*this, spec)) {}

Routing NoisyTopkRouterImpl::forward(const at::Tensor& x, const at::Tensor& noise) {
  const auto logits = topkroute_linear_(x);  // (N, E)
  if (!noise.defined()) {
    auto routing = route_by_logits(logits, spec_, balance_bias_);
    routing.logits = logits;
    return routing;
  }
  const auto std = noise_std(x);
  const auto noisy = logits + noise * std;
  auto routing = route_by_logits(noisy, spec_, balance_bias_);
  routing.logits = logits;
  routing.noise_std = std;
  routing.noisy = noisy;
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
  if (spec_.has_router() && spec_.router == RouterKind::noisy_topk)
    noisy_ = register_module("router", NoisyTopkRouter(spec.width, spec_));
  else if (spec_.has_router())
    topk_ = register_module("router", TopkRouter(spec.width, spec_));
  if (spec_.router == RouterKind::hash)
    hashed_ = hash_experts(spec.vocab, spec_.experts, spec_.top_k);
  if (spec_.shared_gate)
    shared_gate_ = register_module(
        "shared_gate", torch::nn::Linear(torch::nn::LinearOptions(spec.width, 1).bias(false)));
  const auto e = spec_.all_experts(), c = spec.width, f = spec_.width;
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
  const auto& mask = where.mask;
  const auto m = spec_.token_slots();
  const auto table = kernels::make_slot_table(where.experts.cpu(), spec_.all_experts(),
                                              where.capacity, spec_.shared);
  const auto gates = where.gates.reshape({-1, 1});                // (N*M, 1)
  const auto masks = mask.defined() ? mask.flatten(0, 1) : mask;  // (N*M, C)
  auto y = at::zeros_like(tokens);
  for (std::int64_t e = 0; e < spec_.experts; ++e) {
    const auto begin = table.first_panel[e].item<std::int64_t>() * kernels::kPanelSlots;
    const auto slots = table.slots.flatten()
                           .narrow(0, begin, table.load[e].item<std::int64_t>())
                           .to(x.device(), at::kLong);
    const auto served = slots.div(m, "floor");  // tokens
    auto answer = experts_[static_cast<std::size_t>(e)]->forward(tokens.index_select(0, served));
    if (masks.defined()) answer = answer * masks.index_select(0, slots);
    y = y.index_add(0, served, answer * gates.index_select(0, slots));
  }
  for (std::int64_t s = 0; s < spec_.shared; ++s) {
    auto shared = answer(spec_.experts + s, tokens);
    if (mask.defined()) shared = shared * mask.select(1, spec_.top_k + s);
    y = y + shared * where.gates.narrow(1, spec_.top_k + s, 1);
  }
  return output(x, y, table.load.to(x.device()), where, context);
}

Dispatch SparseMoEImpl::dispatch(const at::Tensor& tokens, const ForwardContext& context) {
  auto routing = route(tokens, context);
  const auto n = tokens.size(0);
  auto gates = routing.gates, experts = routing.experts;
  if (spec_.shared > 0) {
    const auto shared = at::arange(spec_.experts, spec_.all_experts(), experts.options());
    gates = at::cat({gates, shared_gates(tokens).expand({n, spec_.shared})}, 1);
    experts = at::cat({experts, shared.expand({n, spec_.shared})}, 1);
  }
  const auto capacity = context.training ? expert_capacity(spec_, n) : -1;
  return {std::move(routing), std::move(gates), std::move(experts), capacity,
          answers_mask(tokens, context)};
}

at::Tensor SparseMoEImpl::shared_gates(const at::Tensor& tokens) {
  return shared_gate_ ? shared_gate_(tokens).sigmoid() : at::ones({1, 1}, tokens.options());
}

MoeOutput SparseMoEImpl::output(const at::Tensor& x, const at::Tensor& y, const at::Tensor& load,
                                const Dispatch& dispatch, const ForwardContext& context) {
  MoeOutput out{y.view(x.sizes()), load.narrow(0, 0, spec_.experts)};
  if (context.training)
    out.side = side_loss(spec_, dispatch.routing, x.size(0), context.update_sums_of(layer_));
  if (!context.keeps_routing) return out;
  const auto& routing = dispatch.routing;
  out.routing = {routing.gates.detach(), routing.experts, routing.logits.detach()};
  if (routing.noise_std.defined())
    out.routing.noise_std = routing.noise_std.detach();
  else if (noisy_)
    out.routing.noise_std = noisy_->noise_std(x.reshape({-1, x.size(-1)})).detach();
  return out;
}

Routing SparseMoEImpl::route(const at::Tensor& tokens, const ForwardContext& context) {
  if (!spec_.has_router()) {
    const auto none = tokens.new_empty({tokens.size(0), 0});
    return {none, none.to(at::kLong), none};
  }
  const auto x = router_input(tokens, context);
  if (noisy_) return noisy_->forward(x, noise_draws(tokens, context));
  if (!hashed_.defined()) return topk_->forward(x);
  if (hashed_.device() != tokens.device()) hashed_ = hashed_.to(tokens.device());
  return topk_->forward(x, hashed_.index_select(0, context.symbols).to(at::kLong));
}

at::Tensor SparseMoEImpl::router_input(const at::Tensor& tokens,
                                       const ForwardContext& context) const {
  if (!context.training || spec_.jitter == 0) return tokens;
  const auto words = kernels::words(context.rows, tokens.size(1),
                                    draw_key(context, layer_, DrawKind::router_jitter));
  const auto factors = 1 + spec_.jitter * (2 * (words.to(at::kDouble) * 0x1p-32) - 1);
  return tokens * factors.to(tokens.options());
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
  const auto n = tokens.size(0), c = tokens.size(1), m = spec_.token_slots();
  const auto padded = kernels::whole_blocks(c);
  return kernels::dropout_mask(context.rows, m * padded, dropout_,
                               draw_key(context, layer_, DrawKind::expert_dropout), tokens)
      .view({n, m, padded})
      .narrow(2, 0, c)
      .contiguous();
}

}  // namespace moe
