#include "kernels/layer_call.h"

namespace moe::kernels {

namespace {

template <class T>
class HeadCall : public LayerCall {
 public:
  HeadCall(NormParameters norm, LinearParameters head, at::Tensor targets, const LayerRun& run,
           bool keeps)
      : norm_(std::move(norm)),
        head_(std::move(head)),
        targets_(std::move(targets)),
        memory_(run.workspace, c10::CppTypeToScalarType<T>::value),
        table_(table_of<T>(run)),
        keeps_(keeps),
        gradients_(run.gradients) {}

  /// logits, and the loss if there are targets.
  Tensors forward(const at::Tensor& x) override {
    x_ = x.contiguous();
    layer_.width = x.size(-1);
    layer_.tokens = x.numel() / layer_.width;
    layer_.vocabulary = head_.weight.size(0);
    Tensors outputs{memory_.result({layer_.tokens, layer_.vocabulary})};
    if (targets_.defined()) outputs.push_back(memory_.result({}));
    if (keeps_) logits_ = outputs[0].detach();  // backward reads them, whoever else lets them go
    const auto begin = memory_.position();
    layer_.x = x_.template const_data_ptr<T>();
    layer_.logits = outputs[0].template mutable_data_ptr<T>();
    layer_.head = linear_arguments<T>(head_);
    if (targets_.defined()) layer_.targets = targets_.const_data_ptr<std::int64_t>();
    const auto panels = cpu::panels_of(layer_.tokens), rows = panels * cpu::kPanel;
    layer_.norm = norm_arguments<T>(norm_, memory_.template values<T>(rows),
                                    memory_.template values<T>(rows));
    layer_.normed = memory_.template values<T>(rows * cpu::padded(layer_.width));
    layer_.losses = memory_.template values<double>(layer_.tokens);
    run_with_scratch<T>(panels, memory_, table_.head_scratch(layer_),
                        [&](std::int64_t p, T* room) { table_.head_forward(layer_, p, room); });
    if (targets_.defined()) *outputs[1].template mutable_data_ptr<T>() = mean_loss();
    if (!keeps_) memory_.rewind(begin);
    return outputs;
  }

  std::size_t differentiable() const override { return targets_.defined() ? 2 : 1; }

  at::Tensor backward(const Tensors& d_outputs) override {
    memory_.require_kept();
    const auto& d_logits = d_outputs[0];
    const bool has_loss = d_outputs.size() > 1 && d_outputs[1].defined();
    auto d_x = memory_.result(x_.sizes());
    const auto begin = memory_.position();
    const auto panels = cpu::panels_of(layer_.tokens);
    layer_.d_loss = has_loss ? d_outputs[1].item<double>() : 0;
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

}  // namespace

HeadResult head_layer(const at::Tensor& x, const NormParameters& norm, const LinearParameters& head,
                      const at::Tensor& targets, const LayerRun& run) {
  const auto source = gradient_source({x, norm.weight, norm.bias, head.weight, head.bias});
  const bool keeps = source.defined();
  const auto wanted = targets.defined() ? targets.contiguous() : targets;
  c10::intrusive_ptr<LayerCall> call;
  if (x.scalar_type() == at::kDouble)
    call = c10::make_intrusive<HeadCall<double>>(norm, head, wanted, run, keeps);
  else
    call = c10::make_intrusive<HeadCall<float>>(norm, head, wanted, run, keeps);
  const auto outputs = run_layer(x, source, call);
  return {outputs[0], outputs.size() > 1 ? outputs[1] : at::Tensor()};
}

}  // namespace moe::kernels
