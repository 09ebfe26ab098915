#include <algorithm>
#include <limits>
#include <vector>

#include "kernels/conv_call.h"
#include "kernels/layer_call.h"
#include "kernels/layer_memory.h"
#include "kernels/mixture_memory.h"
#include "kernels/side_call.h"
#include "kernels/slot_sort.h"

namespace moe::kernels {

namespace {

/// What a call returns; from the gates on if the routing is kept, the last if there is noise.
enum Output : std::size_t { kOut, kSide, kServedLoad, kGates, kExperts, kLogits, kNoiseStd };

template <class T>
class MixtureCall : public LayerCall {
 public:
  MixtureCall(MixtureParameters parameters, const LayerRun& run, bool keeps, SideLoss side,
              RecentRows* recent)
      : parameters_(std::move(parameters)),
        side_(std::move(side)),
        rows_(run.rows),
        memory_(run.workspace, c10::CppTypeToScalarType<T>::value),
        gradients_(run.gradients),
        table_(table_of<T>(run)),
        keeps_routing_(run.keeps_routing),
        recent_(recent) {
    layer_.keeps = keeps;
    layer_.dropout = dropout_arguments(parameters_.dropout);
  }

  Tensors forward(const at::Tensor& x) override {
    x_ = x.contiguous();
    auto out = memory_.result(x.sizes()), side = memory_.result({});
    auto load = memory_.result({parameters_.experts()}, at::kLong);
    load_ = load.mutable_data_ptr<std::int64_t>();
    const auto begin = memory_.position();
    describe(out);
    turn_weight(parameters_.conv, lay_out_forward(layer_, parameters_.capacity >= 0, memory_));
    Tensors outputs{out, side, load};
    if (keeps_routing_) add_routing(outputs);
    const auto panels = cpu::panels_of(layer_.tokens), scratch = table_.mixture_scratch(layer_);
    if (layer_.conv.taps > 0) fill_conv_rows(panels);
    run_with_scratch<T>(panels, memory_, scratch,
                        [&](std::int64_t p, T* room) { table_.route(layer_, p, room); });
    if (keeps_routing_) copy_routing(outputs);
    *side.template mutable_data_ptr<T>() = static_cast<T>(side_loss());
    if (takes_one_by_one()) {
      answer_one_by_one();
      memory_.rewind(begin);
      return outputs;
    }
    plan();
    run_with_scratch<T>(tasks(), memory_, scratch, [&](std::int64_t t, T* room) {
      table_.experts_forward(layer_, tasks_[static_cast<std::size_t>(t)], room);
    });
    cpu::run_tasks(panels, at::get_num_threads(),
                   [&](std::int64_t p, int) { table_.combine(layer_, p); });
    if (!layer_.keeps) memory_.rewind(begin);
    return outputs;
  }

  std::size_t differentiable() const override { return kSide + 1; }

  at::Tensor backward(const Tensors& d_outputs) override {
    memory_.require_kept();
    auto d_x = memory_.result(x_.sizes());
    layer_.d_x = d_x.template mutable_data_ptr<T>();
    const auto begin = memory_.position();
    auto d_out = d_outputs[kOut];
    if (!d_out.defined()) d_out = memory_.result(x_.sizes()).zero_();  // the side loss alone
    layer_.d_out = d_out.template const_data_ptr<T>();
    layer_.balance.scale = d_outputs[kSide].defined() ? d_outputs[kSide].item<double>() : 0;
    lay_out_backward(layer_, memory_);
    point_at_all_gradients();
    const auto scratch = table_.mixture_scratch(layer_);
    run_with_scratch<T>(tasks(), memory_, scratch, [&](std::int64_t t, T* room) {
      table_.experts_backward(layer_, tasks_[static_cast<std::size_t>(t)], room);
    });
    run_with_scratch<T>(cpu::panels_of(layer_.tokens), memory_, scratch,
                        [&](std::int64_t p, T* room) { table_.tokens_backward(layer_, p, room); });
    if (layer_.conv.taps > 0)
      run_with_scratch<T>(
          cpu::panels_of(layer_.tokens), memory_, scratch,
          [&](std::int64_t p, T* room) { table_.convolution_backward(layer_, p, room); });
    // Task 0 is the router's.
    cpu::run_tasks(1 + table_.expert_gradient_tasks(layer_), at::get_num_threads(),
                   [&](std::int64_t t, int) {
                     if (t == 0)
                       table_.router_gradients(layer_);
                     else
                       table_.expert_gradients(layer_, t - 1);
                   });
    memory_.rewind(begin);
    return d_x;
  }

 private:
  void describe(at::Tensor& out) {
    layer_.width = x_.size(-1);
    layer_.tokens = x_.numel() / layer_.width;
    layer_.experts = parameters_.experts();
    layer_.shared = parameters_.shared;
    layer_.hidden_width = parameters_.w2.size(2);
    layer_.up_width = parameters_.w1.numel() / (layer_.all_experts() * layer_.width);
    layer_.top_k = parameters_.top_k;
    TORCH_CHECK(layer_.tokens * layer_.token_slots() < std::numeric_limits<std::int32_t>::max(),
                "slots are numbered in 32 bits: ", layer_.tokens, " tokens are too many");
    layer_.gate = parameters_.gate;
    layer_.gate_norm = parameters_.gate_norm;
    layer_.gate_scale = parameters_.gate_scale;
    layer_.choice_bias = values_or_null<T>(parameters_.choice_bias);
    layer_.jitter = {parameters_.jitter_draw.key, parameters_.jitter_draw.site, parameters_.jitter};
    layer_.symbols = values_or_null<std::int64_t>(parameters_.symbols);
    layer_.hashed = values_or_null<std::int32_t>(parameters_.hashed);
    layer_.balance = balance_arguments(parameters_.balance, x_.size(-2));
    layer_.activation = parameters_.activation;
    layer_.keys = token_keys(rows_);
    layer_.norm = norm_arguments<T>(parameters_.norm);
    layer_.conv = conv_arguments<T>(parameters_.conv, x_.size(-2));
    if (is_step()) continue_from(*recent_, x_.size(0), layer_.width, layer_.conv);
    if (layer_.experts > 0) layer_.route = linear_arguments<T>(parameters_.route);
    if (parameters_.noise.weight.defined()) layer_.noise = linear_arguments<T>(parameters_.noise);
    layer_.up = linear_arguments<T>({parameters_.w1, parameters_.b1});
    layer_.down = linear_arguments<T>({parameters_.w2, parameters_.b2});
    layer_.gates_shared = parameters_.shared_gate.weight.defined();
    if (layer_.gates_shared) layer_.shared_gate = linear_arguments<T>(parameters_.shared_gate);
    layer_.x = x_.template const_data_ptr<T>();
    layer_.out = out.template mutable_data_ptr<T>();
    layer_.noisy = parameters_.noisy;
    layer_.normals = {parameters_.noise_draw.key, parameters_.noise_draw.site};
    layer_.draws = nullptr;
    if (parameters_.draws.defined()) layer_.draws = parameters_.draws.template const_data_ptr<T>();
  }

  /// Whether x follows rows that an earlier call left.
  bool is_step() const { return layer_.conv.taps > 0 && recent_ != nullptr && recent_->defined(); }

  /// A convolution reads over panels: all rows are there before it begins.
  void fill_conv_rows(std::int64_t panels) {
    cpu::run_tasks(panels, at::get_num_threads(),
                   [&](std::int64_t p, int) { table_.normalise_tokens(layer_, p); });
    if (recent_ != nullptr && !recent_->defined()) *recent_ = recent_of(layer_.conv, x_);
  }

  /// In memory of their own: they may outlive a workspace's round.
  void add_routing(Tensors& outputs) {
    const auto n = layer_.tokens, e = layer_.experts, k = layer_.top_k;
    outputs.push_back(at::empty({n, k}, x_.options()));
    outputs.push_back(at::empty({n, k}, at::kLong));
    outputs.push_back(at::empty({n, e}, x_.options()));
    if (layer_.clean_logits == nullptr)
      layer_.clean_logits = outputs[kLogits].template mutable_data_ptr<T>();
    if (layer_.noise.weight == nullptr) return;
    outputs.push_back(at::empty({n, e}, x_.options()));
    if (layer_.noise_std == nullptr)
      layer_.noise_std = outputs[kNoiseStd].template mutable_data_ptr<T>();
  }

  void copy_routing(Tensors& outputs) {
    const auto k = layer_.top_k, logits = layer_.tokens * layer_.experts;
    auto* gates = outputs[kGates].template mutable_data_ptr<T>();
    auto* experts = outputs[kExperts].template mutable_data_ptr<std::int64_t>();
    for (std::int64_t n = 0; n < layer_.tokens; ++n) {
      std::copy_n(layer_.gates + n * layer_.token_slots(), k, gates + n * k);
      std::copy_n(layer_.chosen + n * layer_.token_slots(), k, experts + n * k);
    }
    // Where backward reads them they lie in the layer's memory.
    const auto copy = [&](const T* from, at::Tensor& to) {
      if (from != to.template const_data_ptr<T>())
        std::copy_n(from, logits, to.template mutable_data_ptr<T>());
    };
    copy(layer_.clean_logits, outputs[kLogits]);
    if (outputs.size() > kNoiseStd) copy(layer_.noise_std, outputs[kNoiseStd]);
  }

  double side_loss() {
    if (!layer_.balance.on) return 0;
    return side_loss_of(layer_, parameters_.balance, parameters_.update_sums, table_, memory_,
                        side_);
  }

  bool takes_one_by_one() const {
    return !layer_.keeps && layer_.tokens <= cpu::kFewTokens && !layer_.dropout.on &&
           parameters_.capacity < 0;
  }

  void answer_one_by_one() {
    const auto slots = layer_.tokens * layer_.token_slots();
    std::fill_n(load_, layer_.experts, 0);
    for (std::int64_t s = 0; s < slots; ++s)
      if (layer_.chosen[s] < layer_.experts) ++load_[layer_.chosen[s]];
    const auto tasks = slots * cpu::expert_parts(layer_.hidden_width);
    auto* parts = memory_.template values<T>(tasks * layer_.width);
    cpu::run_tasks(tasks, at::get_num_threads(),
                   [&](std::int64_t t, int) { table_.expert_part(layer_, t, parts); });
    table_.combine_parts(layer_, parts);
  }

  void point_at_all_gradients() {
    point_at_gradients(layer_.norm, parameters_.norm, gradients_);
    layer_.conv.d_weight = gradient_slot<T>(parameters_.conv, gradients_);
    point_at_gradients(layer_.route, parameters_.route, gradients_);
    point_at_gradients(layer_.noise, parameters_.noise, gradients_);
    point_at_gradients(layer_.shared_gate, parameters_.shared_gate, gradients_);
    point_at_gradients(layer_.up, LinearParameters{parameters_.w1, parameters_.b1}, gradients_);
    point_at_gradients(layer_.down, LinearParameters{parameters_.w2, parameters_.b2}, gradients_);
  }

  std::int64_t tasks() const { return static_cast<std::int64_t>(tasks_.size()); }

  void plan() {
    const auto slots = layer_.tokens * layer_.token_slots(), experts = layer_.all_experts();
    std::vector<std::int64_t> load(static_cast<std::size_t>(experts));
    sort_slots(layer_.chosen, slots, experts, parameters_.capacity, layer_.shared,
               {layer_.slots, layer_.first_panel, load.data()});
    std::copy_n(load.data(), layer_.experts, load_);
    if (layer_.served != nullptr) mark_served(slots);
    for (std::int64_t e = 0; e < experts; ++e) add_tasks(e);
  }

  void mark_served(std::int64_t slots) {
    std::fill_n(layer_.served, slots, 0);
    const auto end = layer_.first_panel[layer_.all_experts()] * kPanelSlots;
    for (std::int64_t i = 0; i < end; ++i)
      if (layer_.slots[i] >= 0) layer_.served[layer_.slots[i]] = 1;
  }

  /// The panels of an expert, cut as evenly as can be.
  void add_tasks(std::int64_t expert) {
    const auto first = layer_.first_panel[expert];
    const auto panels = layer_.first_panel[expert + 1] - first;
    const auto parts = (panels + cpu::kExpertPanels - 1) / cpu::kExpertPanels;
    for (std::int64_t part = 0; part < parts; ++part) {
      const auto begin = panels * part / parts, end = panels * (part + 1) / parts;
      tasks_.push_back({expert, first + begin, end - begin});
    }
  }

  MixtureParameters parameters_;
  SideLoss side_;  // that the call fills
  RowIds rows_;
  Memory memory_;
  GradientLedger* gradients_;
  const cpu::Table<T>& table_;
  bool keeps_routing_;
  RecentRows* recent_;            // of the convolution, or null
  std::int64_t* load_ = nullptr;  // (E), of the outputs
  at::Tensor x_;
  cpu::Mixture<T> layer_{};
  std::vector<cpu::ExpertTask> tasks_;
};

}  // namespace

MixtureResult mixture_layer(const at::Tensor& x, const MixtureParameters& parameters,
                            const LayerRun& run, RecentRows* recent) {
  const auto source =
      gradient_source({x, parameters.norm.weight, parameters.norm.bias, parameters.route.weight,
                       parameters.route.bias, parameters.noise.weight, parameters.noise.bias,
                       parameters.w1, parameters.b1, parameters.w2, parameters.b2, parameters.conv,
                       parameters.shared_gate.weight});
  auto side =
      side_tensors(balance_arguments(parameters.balance, 1), parameters.experts(), run.workspace);
  const auto call =
      make_call<MixtureCall>(x.scalar_type(), parameters, run, source.defined(), side, recent);
  const auto outputs = run_layer(x, source, call);
  if (parameters.balance.has_losses()) side.loss = outputs[kSide];
  MixtureResult result{outputs[kOut], outputs[kServedLoad], {}, std::move(side)};
  if (!run.keeps_routing) return result;
  result.routing = {outputs[kGates], outputs[kExperts], outputs[kLogits]};
  if (outputs.size() > kNoiseStd) result.routing.noise_std = outputs[kNoiseStd];
  return result;
}

void count_mixture(const PassShape& pass, const FeedForwardSpec& spec, Direction direction,
                   Memory& memory) {
  cpu::Mixture<float> layer{};
  layer.tokens = pass.tokens();
  layer.width = pass.width;
  layer.experts = spec.experts;
  layer.top_k = spec.top_k;
  layer.shared = spec.shared;
  layer.gates_shared = spec.shared_gate;
  layer.hidden_width = spec.width;
  layer.up_width = spec.up_width();
  layer.activation = spec.activation;
  layer.conv.taps = spec.short_conv;
  layer.keeps = pass.keeps;
  layer.noisy = spec.router == RouterKind::noisy_topk;
  if (pass.keeps) {  // in training
    layer.jitter.reach = spec.jitter;
    layer.balance = balance_arguments(spec.balance, pass.time);
  }
  if (direction == Direction::forward) count_side_tensors(layer.balance, spec.experts, memory);
  memory.values<float>(pass.tokens() * pass.width);  // the result
  if (direction == Direction::forward) {
    memory.values<float>(1);  // the side loss
    memory.values<std::int64_t>(spec.experts);
  }
  const auto begin = memory.position();
  if (direction == Direction::forward)
    lay_out_forward(layer, spec.capacity_factor.has_value(), memory);
  else
    lay_out_backward(layer, memory);
  count_scratch<float>(memory, cpu::table<float>().mixture_scratch(layer));
  if (direction == Direction::backward || !pass.keeps) memory.rewind(begin);
}

}  // namespace moe::kernels
