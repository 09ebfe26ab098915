#include "kernels/layer_call.h"

namespace moe::kernels {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// The head has two outcomes, so that it has a function of its own.
class HeadCall : public torch::CustomClassHolder {
 public:
  virtual HeadResult forward(const at::Tensor& x) = 0;
  virtual at::Tensor backward(const at::Tensor& d_logits, double d_loss) = 0;
};

template <class T>
class HeadCallOf : public HeadCall {
 public:
  HeadCallOf(NormParameters norm, LinearParameters head, at::Tensor targets, const LayerRun& run,
             bool keeps)
      : norm_(std::move(norm)),
        head_(std::move(head)),
        targets_(std::move(targets)),
        memory_(run.workspace, c10::CppTypeToScalarType<T>::value),
        table_(table_of<T>(run)),
        keeps_(keeps),
        gradients_(run.gradients) {}

  HeadResult forward(const at::Tensor& x) override {
    x_ = x.contiguous();
    layer_.width = x.size(-1);
    layer_.tokens = x.numel() / layer_.width;
    layer_.vocabulary = head_.weight.size(0);
    HeadResult result;
    result.logits = memory_.result({layer_.tokens, layer_.vocabulary});
    if (targets_.defined()) result.loss = memory_.result({});
    if (keeps_) logits_ = result.logits.detach();  // backward reads them, whoever else lets them go
    const auto begin = memory_.position();
    layer_.x = x_.template const_data_ptr<T>();
    layer_.logits = result.logits.template mutable_data_ptr<T>();
    layer_.head = linear_arguments<T>(head_);
    if (targets_.defined()) layer_.targets = targets_.const_data_ptr<std::int64_t>();
    const auto panels = cpu::panels_of(layer_.tokens), rows = panels * cpu::kPanel;
    layer_.norm = norm_arguments<T>(norm_, memory_.template values<T>(rows),
                                    memory_.template values<T>(rows));
    layer_.normed = memory_.template values<T>(rows * cpu::padded(layer_.width));
    layer_.losses = memory_.template values<double>(layer_.tokens);
    run_with_scratch<T>(panels, memory_, table_.head_scratch(layer_),
                        [&](std::int64_t p, T* room) { table_.head_forward(layer_, p, room); });
    if (targets_.defined()) *result.loss.template mutable_data_ptr<T>() = mean_loss();
    if (!keeps_) memory_.rewind(begin);
    return result;
  }

  at::Tensor backward(const at::Tensor& d_logits, double d_loss) override {
    memory_.require_kept();
    auto d_x = memory_.result(x_.sizes());
    const auto begin = memory_.position();
    const auto panels = cpu::panels_of(layer_.tokens);
    layer_.d_loss = d_loss;
    layer_.d_given = d_logits.defined() ? d_logits.const_data_ptr<T>() : nullptr;
    layer_.d_x = d_x.template mutable_data_ptr<T>();
    layer_.d_logits = memory_.template values<T>(panels * layer_.vocabulary * cpu::kPanel);
    layer_.norm_parts = memory_.template values<T>(panels * 2 * cpu::padded(layer_.width));
    point_at_gradients(layer_.norm, norm_, gradients_);
    point_at_gradients(layer_.head, head_, gradients_);
    run_with_scratch<T>(panels, memory_, table_.head_scratch(layer_),
                        [&](std::int64_t p, T* room) { table_.head_backward(layer_, p, room); });
    cpu::run_tasks(table_.head_gradient_tasks(layer_), at::get_num_threads(),
                   [&](std::int64_t t, int) { table_.head_gradients(layer_, t); });
    memory_.rewind(begin);
    return d_x;
  }

 private:
  T mean_loss() const {
    double sum = 0;
    for (std::int64_t n = 0; n < layer_.tokens; ++n) sum += layer_.losses[n];
    return static_cast<T>(sum / static_cast<double>(layer_.tokens));
  }

  NormParameters norm_;
  LinearParameters head_;
  at::Tensor targets_, x_, logits_;
  Memory memory_;
  const cpu::Table<T>& table_;
  bool keeps_;
  GradientLedger* gradients_;
  cpu::Head<T> layer_{};
};

struct HeadFunction : torch::autograd::Function<HeadFunction> {
  static variable_list forward(AutogradContext* context, const at::Tensor& x,
                               const at::Tensor& /*source*/,
                               const c10::intrusive_ptr<HeadCall>& call) {
    context->set_materialize_grads(false);
    context->saved_data["call"] = c10::IValue::make_capsule(call);
    const auto result = call->forward(x.detach());
    if (!result.loss.defined()) return {result.logits};
    return {result.logits, result.loss};
  }
  static variable_list backward(AutogradContext* context, const variable_list& d_outputs) {
    const auto call = context->saved_data["call"].toCapsule();
    const auto d_logits = d_outputs[0].defined() ? d_outputs[0].contiguous() : at::Tensor();
    const auto has_loss = d_outputs.size() > 1 && d_outputs[1].defined();
    const auto d_loss = has_loss ? d_outputs[1].item<double>() : 0.0;
    return {static_cast<HeadCall&>(*call).backward(d_logits, d_loss), at::Tensor(), at::Tensor()};
  }
};

template <class T>
HeadResult run_head(const at::Tensor& x, const NormParameters& norm, const LinearParameters& head,
                    const at::Tensor& targets, const LayerRun& run) {
  const auto source = gradient_source({x, norm.weight, norm.bias, head.weight, head.bias});
  const bool keeps = source.defined();
  const c10::intrusive_ptr<HeadCall> call = c10::make_intrusive<HeadCallOf<T>>(
      norm, head, targets.defined() ? targets.contiguous() : targets, run, keeps);
  if (!keeps) return call->forward(x.detach());
  const auto outputs = HeadFunction::apply(x, source, call);
  return {outputs[0], outputs.size() > 1 ? outputs[1] : at::Tensor()};
}

}  // namespace

HeadResult head_layer(const at::Tensor& x, const NormParameters& norm, const LinearParameters& head,
                      const at::Tensor& targets, const LayerRun& run) {
  return x.scalar_type() == at::kDouble ? run_head<double>(x, norm, head, targets, run)
                                        : run_head<float>(x, norm, head, targets, run);
}

}  // namespace moe::kernels
