#include <ATen/ops/zeros.h>

#include "kernels/conv_call.h"
#include "kernels/layer_call.h"
#include "kernels/layer_memory.h"
#include "kernels/value_call.h"

namespace moe::kernels {

namespace {

template <class T>
cpu::Cache<T> cache_arguments(KeyValues& cache, const at::Tensor& x, std::int64_t positions) {
  TORCH_CHECK(cache.keys.dim() == 3 && cache.keys.size(0) == x.size(0) &&
                  cache.keys.size(1) == x.size(2) && positions <= cache.keys.size(2),
              "the cache ", cache.keys.sizes(), " is not one for ", positions, " positions of ",
              x.sizes());
  return {cache.values.size(1), cache.keys.mutable_data_ptr<T>(),
          cache.values.mutable_data_ptr<T>()};
}

/// Values that a layer of one width shares with others, with those that fill up its panels.
template <class T>
std::int64_t count_values(const cpu::Attention<T>& layer) {
  return layer.windows * layer.panels() * cpu::kPanel * layer.width;
}

/// The memory that forward takes and, if it keeps, leaves to backward. Returns the convolution's
/// room for its weight.
template <class T>
T* lay_out_forward(cpu::Attention<T>& layer, bool keeps, Memory& memory) {
  const auto tokens = layer.windows * layer.panels() * cpu::kPanel, c = layer.width;
  lay_out_statistics(layer.norm, tokens, memory);
  layer.normed = memory.values<T>(tokens * cpu::padded(c));
  layer.qkv_panels = memory.values<T>(tokens * 3 * c);
  layer.mixed = memory.values<T>(tokens * c);
  layer.softmax_max = memory.values<T>(tokens * layer.heads);
  layer.softmax_scale = memory.values<T>(tokens * layer.heads);
  if (layer.query_key.normalises) layer.query_key.before = memory.values<T>(tokens * 2 * c);
  if (layer.value_residual.mixes && keeps)
    layer.value_residual.own = memory.values<T>(count_values(layer));
  return lay_out_conv(layer.conv, layer.windows * layer.time, c, memory);
}

template <class T>
void lay_out_backward(cpu::Attention<T>& layer, Memory& memory) {
  const auto tokens = layer.windows * layer.panels() * cpu::kPanel, c = layer.width;
  layer.d_output = memory.values<T>(tokens * c);
  layer.d_qkv = memory.values<T>(tokens * 3 * c);
  layer.mixed_rows = memory.values<T>(tokens * cpu::padded(c));
  layer.norm_parts = memory.values<T>(layer.windows * 2 * cpu::padded(c));
  if (layer.query_key.normalises)
    layer.query_key.gain_parts = memory.values<T>(layer.windows * 2 * c / layer.heads);
  lay_out_conv_parts(layer.conv, layer.windows, c, memory);
  if (layer.value_residual.mixes) layer.value_residual.parts = memory.values<double>(layer.windows);
}

/// For `time` positions of heads of D values.
template <class T>
cpu::QueryKey<T> query_key_arguments(const AttentionParameters& parameters, std::int64_t time,
                                     std::int64_t d) {
  cpu::QueryKey<T> stage;
  stage.normalises = parameters.q_norm.weight.defined();
  stage.rotates = parameters.angles.defined();
  TORCH_CHECK(!stage.rotates || parameters.angles.sizes() == at::IntArrayRef({time, d}), "angles ",
              parameters.angles.sizes(), " are not those of ", time, " positions of heads of ", d);
  stage.query_gain = values_or_null<T>(parameters.q_norm.weight);
  stage.key_gain = values_or_null<T>(parameters.k_norm.weight);
  stage.eps = parameters.q_norm.eps;
  stage.angles = values_or_null<T>(parameters.angles);
  return stage;
}

template <class T>
class AttentionCall : public LayerCall {
 public:
  AttentionCall(AttentionParameters parameters, const LayerRun& run, bool keeps, KeyValues* cache,
                const SkipSources* skips)
      : parameters_(std::move(parameters)),
        rows_(run.rows),
        memory_(run.workspace, c10::CppTypeToScalarType<T>::value),
        gradients_(run.gradients),
        table_(table_of<T>(run)),
        keeps_(keeps),
        cache_(cache),
        skips_(skips != nullptr ? *skips : SkipSources{}) {
    layer_.weights_dropout = dropout_arguments(parameters_.weights_dropout);
    layer_.output_dropout = dropout_arguments(parameters_.output_dropout);
  }

  Tensors forward(const at::Tensor& x) override {
    x_ = x.contiguous();
    auto out = memory_.result(x.sizes());
    const auto c = x.size(2);
    layer_.windows = x.size(0);
    layer_.time = x.size(1);
    layer_.width = c;
    layer_.value_residual = value_arguments<T>(parameters_);
    share_values(layer_.value_residual, &skips_, count_values(layer_), memory_);
    const auto begin = memory_.position();
    layer_.heads = parameters_.heads;
    if (cache_ != nullptr) layer_.cache = cache_arguments<T>(*cache_, x_, layer_.time);
    layer_.score_scale = parameters_.score_scale;
    layer_.keys = token_keys(rows_);
    layer_.x = x_.template const_data_ptr<T>();
    layer_.out = out.template mutable_data_ptr<T>();
    layer_.qkv = linear_arguments<T>({parameters_.qkv, {}});
    layer_.proj = linear_arguments<T>(parameters_.proj);
    layer_.norm = norm_arguments<T>(parameters_.norm);
    layer_.query_key = query_key_arguments<T>(parameters_, layer_.time, c / layer_.heads);
    layer_.conv = conv_arguments<T>(parameters_.conv, layer_.time);
    turn_weight(parameters_.conv, lay_out_forward(layer_, keeps_, memory_));
    run_with_scratch<T>(
        layer_.windows, memory_, table_.attention_scratch(layer_),
        [&](std::int64_t w, T* scratch) { table_.attention_forward(layer_, w, scratch); });
    if (cache_ != nullptr && layer_.conv.taps > 0) cache_->recent = recent_of(layer_.conv, x_);
    if (!keeps_) memory_.rewind(begin);
    return {out};
  }

  at::Tensor backward(const Tensors& d_outputs) override {
    memory_.require_kept();
    const auto& d_out = d_outputs[0];
    auto d_x = memory_.result(d_out.sizes());
    layer_.d_out = d_out.template const_data_ptr<T>();
    layer_.d_x = d_x.template mutable_data_ptr<T>();
    share_value_gradients(layer_.value_residual, skips_.tape.get(), memory_);
    const auto begin = memory_.position();
    lay_out_backward(layer_, memory_);
    point_at_gradients(layer_.norm, parameters_.norm, gradients_);
    point_at_gradients(layer_.qkv, LinearParameters{parameters_.qkv, {}}, gradients_);
    point_at_gradients(layer_.proj, parameters_.proj, gradients_);
    layer_.query_key.d_query_gain = gradient_slot<T>(parameters_.q_norm.weight, gradients_);
    layer_.query_key.d_key_gain = gradient_slot<T>(parameters_.k_norm.weight, gradients_);
    layer_.conv.d_weight = gradient_slot<T>(parameters_.conv, gradients_);
    run_with_scratch<T>(
        layer_.windows, memory_, table_.attention_scratch(layer_),
        [&](std::int64_t w, T* scratch) { table_.attention_backward(layer_, w, scratch); });
    cpu::run_tasks(table_.attention_gradient_tasks(layer_), at::get_num_threads(),
                   [&](std::int64_t t, int) { table_.attention_gradients(layer_, t); });
    add_value_parts(layer_.value_residual, layer_.windows,
                    gradient_slot<T>(parameters_.value_lambda, gradients_));
    memory_.rewind(begin);
    return d_x;
  }

 private:
  AttentionParameters parameters_;
  RowIds rows_;
  Memory memory_;
  GradientLedger* gradients_;
  const cpu::Table<T>& table_;
  bool keeps_;
  KeyValues* cache_;
  SkipSources skips_;
  at::Tensor x_;
  cpu::Attention<T> layer_{};
};

template <class T>
at::Tensor run_attention_step(const at::Tensor& x, const AttentionParameters& parameters,
                              const LayerRun& run, KeyValues& cache, CachePlace place,
                              const SkipSources* skips) {
  Memory memory(run.workspace, c10::CppTypeToScalarType<T>::value);
  auto out = memory.result(x.sizes());
  const auto b = x.size(0), c = x.size(2);
  cpu::AttentionStep<T> step{};
  step.value_residual = value_arguments<T>(parameters);
  share_values(step.value_residual, skips, b * c, memory);
  const auto begin = memory.position();
  step.sequences = b;
  step.width = c;
  step.heads = parameters.heads;
  step.place = place.place;
  step.filled = place.filled;
  step.score_scale = parameters.score_scale;
  step.norm = norm_arguments<T>(parameters.norm);
  lay_out_statistics(step.norm, b, memory);
  step.qkv = linear_arguments<T>({parameters.qkv, {}});
  step.proj = linear_arguments<T>(parameters.proj);
  step.query_key = query_key_arguments<T>(parameters, 1, c / parameters.heads);
  const auto rows = x.contiguous();
  step.x = rows.const_data_ptr<T>();
  step.out = out.template mutable_data_ptr<T>();
  step.cache = cache_arguments<T>(cache, x, place.filled);
  step.normed = memory.values<T>(b * cpu::padded(c));
  step.qkv_values = memory.values<T>(b * 3 * c);
  step.mixed = memory.values<T>(b * cpu::padded(c));
  step.conv = conv_arguments<T>(parameters.conv, /*time=*/1);
  if (step.conv.taps > 0) continue_from(cache.recent, b, c, step.conv);
  turn_weight(parameters.conv, lay_out_conv(step.conv, b, c, memory));
  const auto& table = cpu::table<T>();
  const auto scratch = table.step_scratch(step);
  table.step_normalise(step);
  run_with_scratch<T>(cpu::step_tasks(3 * c), memory, scratch,
                      [&](std::int64_t t, T* room) { table.step_project(step, t, room); });
  run_with_scratch<T>(b, memory, scratch,
                      [&](std::int64_t n, T* room) { table.step_attend(step, n, room); });
  run_with_scratch<T>(cpu::step_tasks(c), memory, scratch,
                      [&](std::int64_t t, T* room) { table.step_output(step, t, room); });
  memory.rewind(begin);
  return out;
}

}  // namespace

at::Tensor attention_layer(const at::Tensor& x, const AttentionParameters& parameters,
                           const LayerRun& run, KeyValues* cache, const SkipSources* skips) {
  const auto source =
      gradient_source({x, parameters.norm.weight, parameters.norm.bias, parameters.qkv,
                       parameters.q_norm.weight, parameters.k_norm.weight, parameters.proj.weight,
                       parameters.proj.bias, parameters.conv, parameters.value_lambda});
  const auto call =
      make_call<AttentionCall>(x.scalar_type(), parameters, run, source.defined(), cache, skips);
  return run_layer(x, source, call)[0];
}

KeyValues make_key_values(const at::Tensor& x, std::int64_t positions) {
  const auto capacity = cpu::padded(positions);
  return {at::zeros({x.size(0), x.size(2), capacity}, x.options()),
          at::zeros({x.size(0), capacity, x.size(2)}, x.options())};
}

at::Tensor attention_step(const at::Tensor& x, const AttentionParameters& parameters,
                          const LayerRun& run, KeyValues& cache, CachePlace place,
                          const SkipSources* skips) {
  return x.scalar_type() == at::kDouble
             ? run_attention_step<double>(x, parameters, run, cache, place, skips)
             : run_attention_step<float>(x, parameters, run, cache, place, skips);
}

void count_attention(const PassShape& pass, const AttentionSpec& spec, Direction direction,
                     Memory& memory) {
  cpu::Attention<float> layer{};
  layer.windows = pass.windows;
  layer.time = pass.time;
  layer.width = pass.width;
  layer.heads = spec.heads;
  layer.query_key.normalises = spec.qk_norm != QkNorm::none;
  layer.query_key.rotates = spec.rotary_base.has_value();
  layer.conv.taps = spec.short_conv;
  layer.value_residual.mixes = spec.mixes_values;
  memory.values<float>(pass.tokens() * pass.width);  // the result
  const bool shares = direction == Direction::forward ? spec.gives_values : spec.begins_values;
  if (shares) memory.values<float>(count_values(layer));
  const auto begin = memory.position();
  if (direction == Direction::forward)
    lay_out_forward(layer, pass.keeps, memory);
  else
    lay_out_backward(layer, memory);
  count_scratch<float>(memory, cpu::table<float>().attention_scratch(layer));
  if (direction == Direction::backward || !pass.keeps) memory.rewind(begin);
}

}  // namespace moe::kernels
