#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <type_traits>
#include <utility>
#include <vector>

#include "kernels/cpu/arguments.h"
#include "kernels/cpu/pool.h"
#include "kernels/cpu/table.h"
#include "moe/kernels/layers.h"

namespace moe::kernels {

using Tensors = std::vector<at::Tensor>;

/// One call of a layer: what its backward needs of its forward.
class LayerCall : public torch::CustomClassHolder {
 public:
  virtual Tensors forward(const at::Tensor& x) = 0;
  /// `d_outputs`: gradients of what forward returned, undefined where nobody wants one. Gradient of
  /// x, or undefined; those of the parameters go to where they belong.
  virtual at::Tensor backward(const Tensors& d_outputs) = 0;
  /// How many of the outputs, from the first on, have gradients.
  virtual std::size_t differentiable() const { return 1; }
};

/// A Call of double or float, as `type` is.
template <template <class> class Call, class... Arguments>
c10::intrusive_ptr<LayerCall> make_call(at::ScalarType type, Arguments&&... arguments) {
  if (type == at::kDouble)
    return c10::make_intrusive<Call<double>>(std::forward<Arguments>(arguments)...);
  return c10::make_intrusive<Call<float>>(std::forward<Arguments>(arguments)...);
}

/// Any layer call under autograd, which calls back if `source` (gradient_source) wants a gradient.
struct LayerFunction : torch::autograd::Function<LayerFunction> {
  static Tensors forward(torch::autograd::AutogradContext* context, const at::Tensor& x,
                         const at::Tensor& /*source*/, const c10::intrusive_ptr<LayerCall>& call) {
    context->set_materialize_grads(false);
    context->saved_data["call"] = c10::IValue::make_capsule(call);
    auto outputs = call->forward(x.detach());
    const auto others = outputs.begin() + static_cast<std::ptrdiff_t>(call->differentiable());
    context->mark_non_differentiable({others, outputs.end()});
    return outputs;
  }
  static Tensors backward(torch::autograd::AutogradContext* context, Tensors d_outputs) {
    const auto call = context->saved_data["call"].toCapsule();
    for (auto& gradient : d_outputs)
      if (gradient.defined()) gradient = gradient.contiguous();
    return {static_cast<LayerCall&>(*call).backward(d_outputs), at::Tensor(), at::Tensor()};
  }
};

/// The first of what a layer reads that wants a gradient: x, or, if all before it is frozen, a
/// parameter of its own. Undefined: no backward will come, and nothing needs to be kept for it.
inline at::Tensor gradient_source(
    std::initializer_list<std::reference_wrapper<const at::Tensor>> inputs) {
  if (!at::GradMode::is_enabled()) return {};
  for (const at::Tensor& input : inputs)
    if (input.defined() && input.requires_grad()) return input;
  return {};
}

/// x through the call, under autograd if a backward may come.
inline Tensors run_layer(const at::Tensor& x, const at::Tensor& source,
                         const c10::intrusive_ptr<LayerCall>& call) {
  return source.defined() ? LayerFunction::apply(x, source, call) : call->forward(x.detach());
}

/// Memory of one call: of the workspace, or, without one, of its own for as long as the call lives.
class Memory {
 public:
  Memory(Workspace* workspace, at::ScalarType type)
      : workspace_(workspace),
        type_(type),
        generation_(workspace != nullptr ? workspace->generation() : 0) {}

  /// A backward reads what its forward kept: after a reset that memory is someone else's.
  void require_kept() const {
    TORCH_CHECK(workspace_ == nullptr || workspace_->generation() == generation_,
                "backward after a reset of the workspace that its forward used: forward was in "
                "generation ",
                generation_, ", now it is ", workspace_->generation());
  }

  /// What the call hands out. It is never kept here: it would hold the call, and the call it.
  at::Tensor result(at::IntArrayRef sizes) { return result(sizes, type_); }
  at::Tensor result(at::IntArrayRef sizes, at::ScalarType type) {
    return take_from(workspace_, sizes, type);
  }

  template <class T>
  T* values(std::int64_t count) {
    const auto bytes = count * static_cast<std::int64_t>(sizeof(T));
    if (workspace_ != nullptr) return static_cast<T*>(workspace_->take_bytes(bytes));
    owned_.push_back(at::empty({bytes}, at::kByte));
    return reinterpret_cast<T*>(owned_.back().mutable_data_ptr<std::uint8_t>());
  }

  struct Position {
    Workspace::Position workspace;
    std::size_t owned;
  };
  Position position() const {
    return {workspace_ != nullptr ? workspace_->position() : Workspace::Position{}, owned_.size()};
  }
  /// What `values` gave after `begin` goes back.
  void rewind(Position begin) {
    if (workspace_ != nullptr) workspace_->rewind(begin.workspace);
    owned_.resize(begin.owned);
  }

 private:
  Workspace* workspace_;
  at::ScalarType type_;
  std::int64_t generation_;
  std::vector<at::Tensor> owned_;
};

/// The kernels that a layer runs on.
template <class T>
const cpu::Table<T>& table_of(const LayerRun& run) {
  if constexpr (std::is_same_v<T, float>) {
    if (run.bfloat16) {
      const auto* rounded = cpu::bfloat16_table();
      TORCH_CHECK(rounded != nullptr, "no products in bfloat16 on this processor");
      return *rounded;
    }
  }
  return cpu::table<T>();
}

/// Where the gradient of a parameter goes, its `.grad`, which is made if it is not there yet.
/// Nowhere if the parameter is undefined or frozen.
template <class T>
cpu::GradientSlot<T> gradient_slot(const at::Tensor& parameter, GradientLedger* ledger) {
  if (!parameter.defined() || !parameter.requires_grad()) return {};
  auto& gradient = parameter.mutable_grad();
  if (!gradient.defined()) gradient = at::zeros_like(parameter);
  return {gradient.template mutable_data_ptr<T>(),
          ledger == nullptr || !ledger->is_first_write(parameter)};
}

template <class T>
const T* values_or_null(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr<T>() : nullptr;
}
/// Its statistics are laid out with the layer's memory.
template <class T>
cpu::Norm<T> norm_arguments(const NormParameters& norm) {
  return {.kind = norm.kind,
          .weight = norm.weight.const_data_ptr<T>(),
          .bias = values_or_null<T>(norm.bias),
          .eps = norm.eps};
}
/// Of so many tokens.
template <class T>
void lay_out_statistics(cpu::Norm<T>& norm, std::int64_t tokens, Memory& memory) {
  norm.mean = memory.values<T>(tokens);
  norm.inverse_std = memory.values<T>(tokens);
}
template <class T>
cpu::Linear<T> linear_arguments(const LinearParameters& linear) {
  return {linear.weight.const_data_ptr<T>(), values_or_null<T>(linear.bias), {}, {}};
}
/// A Norm or a Linear.
template <class Arguments, class Parameters>
void point_at_gradients(Arguments& arguments, const Parameters& parameters,
                        GradientLedger* ledger) {
  using T = std::remove_pointer_t<decltype(arguments.d_weight.to)>;
  arguments.d_weight = gradient_slot<T>(parameters.weight, ledger);
  arguments.d_bias = gradient_slot<T>(parameters.bias, ledger);
}

inline cpu::TokenKeys token_keys(const RowIds& rows) {
  return {rows.sequence.const_data_ptr<std::int64_t>(),
          rows.position.const_data_ptr<std::int64_t>()};
}

inline cpu::Dropout dropout_arguments(const DropoutDraws& draws) {
  cpu::Dropout dropout;
  dropout.on = draws.rate > 0;
  dropout.key = draws.key.key;
  dropout.site = draws.key.site;
  dropout.threshold = drop_threshold(draws.rate);
  dropout.scale = 1 / (1 - draws.rate);
  return dropout;
}

/// Values from one thread's scratch to the next's: a line apart, since threads must not write into
/// one another's.
inline std::int64_t scratch_stride(std::int64_t scratch) {
  return cpu::padded(scratch) + cpu::kPanel;
}

/// Takes the scratch of all threads and gives it back, as run_with_scratch does, for a count.
template <class T>
void count_scratch(Memory& memory, std::int64_t scratch) {
  const auto begin = memory.position();
  memory.values<T>(scratch_stride(scratch) * at::get_num_threads());
  memory.rewind(begin);
}

/// Runs the tasks of a layer, each thread with `scratch` values of its own, which go back at the
/// end: the next tasks find them in the cache.
template <class T, class Task>
void run_with_scratch(std::int64_t tasks, Memory& memory, std::int64_t scratch, Task&& task) {
  const auto begin = memory.position();
  const auto threads = at::get_num_threads();
  const auto stride = scratch_stride(scratch);
  auto* room = memory.values<T>(stride * threads);
  cpu::run_tasks(tasks, threads,
                 [&](std::int64_t t, int thread) { task(t, room + thread * stride); });
  memory.rewind(begin);
}

}  // namespace moe::kernels
