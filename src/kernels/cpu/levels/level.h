#pragma once

// One instruction set's copy of all kernels: MOE_LEVEL names it, MOE_VECTOR_BYTES is its vector.

#include "kernels/cpu/adamw.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/head.h"
#include "kernels/cpu/mixture.h"
#include "kernels/cpu/step.h"
#include "kernels/cpu/table.h"

namespace moe::kernels::cpu::MOE_LEVEL {

template <class T>
Index mixture_scratch(const Mixture<T>& layer) {
  const Index route = route_scratch(layer);
  const Index tokens = layer.width * kPanel + kPanel * padded(layer.width);
  const Index experts = ExpertPanels<T>::scratch_size(layer);
  const Index most = route > tokens ? route : tokens;
  return most > experts ? most : experts;
}

template <class T>
constexpr Table<T> make_table(const char* name) {
  Table<T> t{};
  t.name = name;
  t.attention_scratch = [](const Attention<T>& layer) {
    return AttentionWindow<T>::scratch_size(layer);
  };
  t.attention_forward = [](const Attention<T>& layer, Index window, T* scratch) {
    AttentionWindow<T>(layer, window, scratch).forward();
  };
  t.attention_backward = [](const Attention<T>& layer, Index window, T* scratch) {
    AttentionWindow<T>(layer, window, scratch).backward();
  };
  t.attention_gradient_tasks = attention_gradient_tasks<T>;
  t.attention_gradients = attention_gradients<T>;
  t.step_scratch = step_scratch<T>;
  t.step_normalise = step_normalise<T>;
  t.step_project = step_project<T>;
  t.step_attend = step_attend<T>;
  t.step_output = step_output<T>;
  t.expert_part = expert_part<T>;
  t.combine_parts = combine_parts<T>;
  t.mixture_scratch = mixture_scratch<T>;
  t.route = route_tokens<T>;
  t.experts_forward = [](const Mixture<T>& layer, const ExpertTask& task, T* scratch) {
    ExpertPanels<T>(layer, task, scratch).forward();
  };
  t.combine = combine_tokens<T>;
  t.experts_backward = [](const Mixture<T>& layer, const ExpertTask& task, T* scratch) {
    ExpertPanels<T>(layer, task, scratch).backward();
  };
  t.tokens_backward = tokens_backward<T>;
  t.mixture_gradient_tasks = mixture_gradient_tasks<T>;
  t.mixture_gradients = mixture_gradients<T>;
  t.head_scratch = head_scratch<T>;
  t.head_forward = head_forward<T>;
  t.head_backward = head_backward<T>;
  t.head_gradient_tasks = head_gradient_tasks<T>;
  t.head_gradients = head_gradients<T>;
  t.normal_rows = normal_rows<T>;
  t.adamw = adamw_update<T>;
  t.sum_of_squares = sum_of_squares<T>;
  return t;
}

// Constants of the program's image: no code of this instruction set runs before it is chosen.
extern const Table<float> kFloats;
extern const Table<double> kDoubles;
constinit const Table<float> kFloats = make_table<float>(MOE_LEVEL_NAME);
constinit const Table<double> kDoubles = make_table<double>(MOE_LEVEL_NAME);

}  // namespace moe::kernels::cpu::MOE_LEVEL
