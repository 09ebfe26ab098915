#pragma once

#include "kernels/skip_tape.h"

namespace moe::kernels {

// What an attention call hands its stage of values (kernels/cpu/value_residual.h).

template <class T>
cpu::ValueResidual<T> value_arguments(const AttentionParameters& parameters) {
  cpu::ValueResidual<T> stage;
  stage.gives = parameters.gives_values;
  stage.mixes = parameters.value_lambda.defined();
  if (stage.mixes) stage.lambda = *parameters.value_lambda.template const_data_ptr<T>();
  return stage;
}

/// Points at the first block's values, (count) of them: a layer that gives makes room for them.
template <class T>
void share_values(cpu::ValueResidual<T>& stage, const SkipSources* skips, std::int64_t count,
                  Memory& memory) {
  if (!stage.gives && !stage.mixes) return;
  TORCH_CHECK(skips != nullptr && skips->tape != nullptr, "values are shared without a tape");
  auto& values = skips->tape->values;
  if (stage.gives) values = memory.result({count});
  TORCH_CHECK(values.defined() && values.numel() == count, "the first block gave ",
              values.defined() ? values.numel() : 0, " values, not ", count);
  stage.first = values.template mutable_data_ptr<T>();
}

/// Of backward: the sum of the first block's gradients, which the last block begins. A block that
/// gives has nothing to take where nobody behind it wanted a gradient.
template <class T>
void share_value_gradients(cpu::ValueResidual<T>& stage, SkipTape* tape, Memory& memory) {
  if (tape == nullptr || (!stage.gives && !stage.mixes)) return;
  auto& sum = tape->d_values;
  stage.begins = !sum.defined();
  if (stage.begins && stage.gives) stage.gives = false;
  if (stage.begins && stage.mixes) sum = memory.result(tape->values.sizes());
  if (sum.defined()) stage.d_first = sum.template mutable_data_ptr<T>();
}

template <class T>
void add_value_parts(const cpu::ValueResidual<T>& stage, std::int64_t windows,
                     cpu::GradientSlot<T> slot) {
  if (!stage.mixes || slot.to == nullptr) return;
  double total = 0;
  for (std::int64_t w = 0; w < windows; ++w) total += stage.parts[w];
  *slot.to = static_cast<T>(total) + (slot.adds ? *slot.to : T{0});
}

}  // namespace moe::kernels
