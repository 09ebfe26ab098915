#include <algorithm>
#include <limits>
#include <vector>

#include "kernels/layer_call.h"

namespace moe::kernels {

namespace {

template <class T>
class MixtureCall : public LayerCall {
 public:
  MixtureCall(MixtureParameters parameters, const LayerRun& run, bool keeps, std::int64_t* load,
              Routing* routing)
      : parameters_(std::move(parameters)),
        rows_(run.rows),
        memory_(run.workspace, c10::CppTypeToScalarType<T>::value),
        gradients_(run.gradients),
        table_(table_of<T>(run)),
        load_(load),
        routing_(routing) {
    layer_.keep = keeps;
    layer_.dropout = dropout_arguments(run.dropout, parameters_.dropout_draw);
  }

  at::Tensor forward(const at::Tensor& x) override {
    x_ = x.contiguous();
    auto out = memory_.result(x.sizes());
    const auto begin = memory_.position();
    describe(out);
    take_forward_memory();
    if (routing_ != nullptr) point_at_routing();
    const auto panels = cpu::panels_of(layer_.tokens), scratch = table_.mixture_scratch(layer_);
    run_with_scratch<T>(panels, memory_, scratch,
                        [&](std::int64_t p, T* room) { table_.route(layer_, p, room); });
    if (routing_ != nullptr) keep_routing();
    if (takes_one_by_one()) {
      answer_one_by_one();
      memory_.rewind(begin);
      return out;
    }
    plan();
    run_with_scratch<T>(tasks(), memory_, scratch, [&](std::int64_t t, T* room) {
      table_.experts_forward(layer_, tasks_[static_cast<std::size_t>(t)], room);
    });
    cpu::run_tasks(panels, at::get_num_threads(),
                   [&](std::int64_t p, int) { table_.combine(layer_, p); });
    if (!layer_.keep) memory_.rewind(begin);
    return out;
  }

  at::Tensor backward(const at::Tensor& d_out) override {
    memory_.require_kept();
    auto d_x = memory_.result(d_out.sizes());
    layer_.d_out = d_out.template const_data_ptr<T>();
    layer_.d_x = d_x.template mutable_data_ptr<T>();
    const auto begin = memory_.position();
    take_backward_memory();
    point_at_all_gradients();
    const auto scratch = table_.mixture_scratch(layer_);
    run_with_scratch<T>(tasks(), memory_, scratch, [&](std::int64_t t, T* room) {
      table_.experts_backward(layer_, tasks_[static_cast<std::size_t>(t)], room);
    });
    run_with_scratch<T>(cpu::panels_of(layer_.tokens), memory_, scratch,
                        [&](std::int64_t p, T* room) { table_.tokens_backward(layer_, p, room); });
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

  std::int64_t dropped() const { return dropped_; }

 private:
  void describe(at::Tensor& out) {
    layer_.width = x_.size(-1);
    layer_.tokens = x_.numel() / layer_.width;
    layer_.experts = parameters_.w1.size(0);
    layer_.hidden_width = parameters_.w1.size(1);
    layer_.top_k = parameters_.top_k;
    TORCH_CHECK(layer_.tokens * layer_.top_k < std::numeric_limits<std::int32_t>::max(),
                "slots are numbered in 32 bits: ", layer_.tokens, " tokens are too many");
    layer_.gate = parameters_.gate;
    layer_.keys = token_keys(rows_);
    layer_.route = linear_arguments<T>(parameters_.route);
    if (parameters_.noise.weight.defined()) layer_.noise = linear_arguments<T>(parameters_.noise);
    layer_.up = linear_arguments<T>({parameters_.w1, parameters_.b1});
    layer_.down = linear_arguments<T>({parameters_.w2, parameters_.b2});
    layer_.x = x_.template const_data_ptr<T>();
    layer_.out = out.template mutable_data_ptr<T>();
    layer_.noisy = parameters_.noisy;
    layer_.normals = {parameters_.noise_draw.key, parameters_.noise_draw.site};
    layer_.draws = nullptr;
    if (parameters_.draws.defined()) layer_.draws = parameters_.draws.template const_data_ptr<T>();
  }

  void take_forward_memory() {
    const auto n = layer_.tokens, c = layer_.width, e = layer_.experts, k = layer_.top_k;
    const auto rows = cpu::panels_of(n) * cpu::kPanel;
    layer_.norm = norm_arguments<T>(parameters_.norm, memory_.template values<T>(rows),
                                    memory_.template values<T>(rows));
    layer_.normed = memory_.template values<T>(rows * cpu::padded(c));
    layer_.logits = memory_.template values<T>(n * e);
    layer_.noise_slope = memory_.template values<T>(n * e);
    layer_.gates = memory_.template values<T>(n * k);
    layer_.chosen = memory_.template values<std::int32_t>(n * k);
    layer_.is_kept = memory_.template values<unsigned char>(n * k);
    layer_.first_panel = memory_.template values<std::int32_t>(e + 1);
    layer_.slots = memory_.template values<std::int32_t>(most_panels() * cpu::kPanel);
    if (layer_.keep)
      layer_.hidden = memory_.template values<T>(most_panels() * layer_.hidden_width * cpu::kPanel);
    layer_.answers = memory_.template values<T>(n * k * cpu::padded(c));
  }

  void point_at_routing() {
    const auto n = layer_.tokens, e = layer_.experts;
    routing_->logits = at::empty({n, e}, x_.options());
    layer_.clean_logits = routing_->logits.template mutable_data_ptr<T>();
    if (layer_.noise.weight == nullptr) return;
    routing_->noise_std = at::empty({n, e}, x_.options());
    layer_.noise_std = routing_->noise_std.template mutable_data_ptr<T>();
  }

  /// Choices and gates lie in memory that goes back.
  void keep_routing() {
    const auto count = layer_.tokens * layer_.top_k;
    routing_->gates = at::empty({layer_.tokens, layer_.top_k}, x_.options());
    routing_->experts = at::empty({layer_.tokens, layer_.top_k}, at::kLong);
    std::copy_n(layer_.gates, count, routing_->gates.template mutable_data_ptr<T>());
    std::copy_n(layer_.chosen, count, routing_->experts.template mutable_data_ptr<std::int64_t>());
    routing_ = nullptr;  // the caller's: no business of a backward
  }

  bool takes_one_by_one() const {
    return !layer_.keep && layer_.tokens <= cpu::kFewTokens && !layer_.dropout.on &&
           parameters_.capacity < 0;
  }

  void answer_one_by_one() {
    const auto slots = layer_.tokens * layer_.top_k;
    std::fill_n(load_, layer_.experts, 0);
    for (std::int64_t s = 0; s < slots; ++s) ++load_[layer_.chosen[s]];
    const auto tasks = slots * cpu::expert_parts(layer_.hidden_width);
    auto* parts = memory_.template values<T>(tasks * layer_.width);
    cpu::run_tasks(tasks, at::get_num_threads(),
                   [&](std::int64_t t, int) { table_.expert_part(layer_, t, parts); });
    table_.combine_parts(layer_, parts);
  }

  /// Panels that any choice of experts fits in: the size of memory must not depend on the choice.
  std::int64_t most_panels() const {
    const auto slots = layer_.tokens * layer_.top_k;
    return std::min(slots, cpu::panels_of(slots) + layer_.experts);
  }

  void take_backward_memory() {
    const auto n = layer_.tokens, c = layer_.width, e = layer_.experts, k = layer_.top_k;
    const auto f = layer_.hidden_width, panels = most_panels(), tokens = cpu::panels_of(n);
    layer_.d_gates = memory_.template values<T>(n * k);
    layer_.d_answers = memory_.template values<T>(panels * c * cpu::kPanel);
    layer_.d_hidden = memory_.template values<T>(panels * f * cpu::kPanel);
    layer_.hidden_turned = memory_.template values<T>(panels * cpu::kPanel * cpu::padded(f));
    layer_.input_turned = memory_.template values<T>(panels * cpu::kPanel * cpu::padded(c));
    layer_.d_inputs = memory_.template values<T>(n * k * cpu::padded(c));
    layer_.d_token_logits = memory_.template values<T>(n * e);
    layer_.d_logits = memory_.template values<T>(tokens * 2 * e * cpu::kPanel);
    layer_.norm_parts = memory_.template values<T>(tokens * 2 * cpu::padded(c));
  }

  void point_at_all_gradients() {
    point_at_gradients(layer_.norm, parameters_.norm, gradients_);
    point_at_gradients(layer_.route, parameters_.route, gradients_);
    point_at_gradients(layer_.noise, parameters_.noise, gradients_);
    point_at_gradients(layer_.up, LinearParameters{parameters_.w1, parameters_.b1}, gradients_);
    point_at_gradients(layer_.down, LinearParameters{parameters_.w2, parameters_.b2}, gradients_);
  }

  std::int64_t tasks() const { return static_cast<std::int64_t>(tasks_.size()); }

  /// Slots by expert, in token order within each: a counting sort, so that sums have one order.
  void plan() {
    const auto slots = layer_.tokens * layer_.top_k, e = layer_.experts;
    std::fill_n(load_, e, 0);
    const auto capacity = parameters_.capacity;
    for (std::int64_t s = 0; s < slots; ++s) {
      const bool fits = capacity < 0 || load_[layer_.chosen[s]] < capacity;
      layer_.is_kept[s] = fits ? 1 : 0;
      if (fits)
        ++load_[layer_.chosen[s]];
      else
        ++dropped_;
    }
    layer_.first_panel[0] = 0;
    for (std::int64_t i = 0; i < e; ++i) {
      const auto first = layer_.first_panel[i];
      const auto panels = cpu::panels_of(load_[i]);
      layer_.first_panel[i + 1] = static_cast<std::int32_t>(first + panels);
      const auto parts = (panels + cpu::kExpertPanels - 1) / cpu::kExpertPanels;
      for (std::int64_t part = 0; part < parts; ++part) {  // as even as can be
        const auto begin = panels * part / parts, end = panels * (part + 1) / parts;
        tasks_.push_back({i, first + begin, end - begin});
      }
    }
    std::fill_n(layer_.slots, layer_.first_panel[e] * cpu::kPanel, -1);
    std::vector<std::int64_t> next(static_cast<std::size_t>(e));
    for (std::int64_t i = 0; i < e; ++i)
      next[static_cast<std::size_t>(i)] = layer_.first_panel[i] * cpu::kPanel;
    for (std::int64_t s = 0; s < slots; ++s)
      if (layer_.is_kept[s] != 0)
        layer_.slots[next[static_cast<std::size_t>(layer_.chosen[s])]++] =
            static_cast<std::int32_t>(s);
  }

  MixtureParameters parameters_;
  RowIds rows_;
  Memory memory_;
  GradientLedger* gradients_;
  const cpu::Table<T>& table_;
  std::int64_t* load_;
  Routing* routing_;
  at::Tensor x_;
  cpu::Mixture<T> layer_{};
  std::vector<cpu::ExpertTask> tasks_;
  std::int64_t dropped_ = 0;
};

template <class T>
MixtureResult run_mixture(const at::Tensor& x, const MixtureParameters& parameters,
                          const LayerRun& run, std::int64_t* load, Routing* routing) {
  const auto source =
      gradient_source({x, parameters.norm.weight, parameters.norm.bias, parameters.route.weight,
                       parameters.route.bias, parameters.noise.weight, parameters.noise.bias,
                       parameters.w1, parameters.b1, parameters.w2, parameters.b2});
  const auto call =
      c10::make_intrusive<MixtureCall<T>>(parameters, run, source.defined(), load, routing);
  auto out = run_layer(x, source, call);
  return {std::move(out), call->dropped()};
}

}  // namespace

MixtureResult mixture_layer(const at::Tensor& x, const MixtureParameters& parameters,
                            const LayerRun& run, std::int64_t* load, Routing* routing) {
  return x.scalar_type() == at::kDouble ? run_mixture<double>(x, parameters, run, load, routing)
                                        : run_mixture<float>(x, parameters, run, load, routing);
}

}  // namespace moe::kernels
