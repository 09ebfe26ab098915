#pragma once

// One instruction set's copy of all kernels: MOE_LEVEL names it, MOE_VECTOR_BYTES is its vector.

#include "kernels/cpu/adamw.h"
#include "kernels/cpu/levels/products.h"
#include "kernels/cpu/muon.h"
#include "kernels/cpu/skip.h"
#include "kernels/cpu/step.h"

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
void exponentials(T* values, Index count) {
  for (Index i = 0; i < count; i += kLanes<T>)
    store_part(values + i, exponential(load_part(values + i, count - i)), count - i);
}

template <class T>
constexpr Table<T> make_table(const char* name) {
  Table<T> t{};
  static_cast<Products<T>&>(t) = make_products<T>(name);
  t.attention_scratch = [](const Attention<T>& layer) {
    return AttentionWindow<T>::scratch_size(layer);
  };
  t.attention_gradient_tasks = attention_gradient_tasks<T>;
  t.step_scratch = step_scratch<T>;
  t.step_normalise = step_normalise<T>;
  t.step_project = step_project<T>;
  t.step_attend = step_attend<T>;
  t.step_output = step_output<T>;
  t.head_step_scratch = head_step_scratch<T>;
  t.head_step_normalise = head_step_normalise<T>;
  t.head_step = head_step<T>;
  t.expert_part = expert_part<T>;
  t.combine_parts = combine_parts<T>;
  t.skip_forward = skip_forward<T>;
  t.skip_backward = skip_backward<T>;
  t.mixture_scratch = mixture_scratch<T>;
  t.normalise_tokens = normalise_tokens<T>;
  t.route = route_tokens<T>;
  t.balance_sums = balance_sums<T>;
  t.combine = combine_tokens<T>;
  t.tokens_backward = tokens_backward<T>;
  t.convolution_backward = convolution_backward<T>;
  t.router_gradients = router_gradients<T>;
  t.expert_gradient_tasks = expert_gradient_tasks<T>;
  t.vocabulary_scratch = [](const Vocabulary<T>& layer) {
    return VocabularyPanels<T>::scratch_size(layer);
  };
  t.vocabulary_gradient_tasks = vocabulary_gradient_tasks<T>;
  t.normal_rows = normal_rows<T>;
  t.drop_rows = drop_rows<T>;
  t.adamw = adamw_update<T>;
  t.exponentials = exponentials<T>;
  t.sum_of_squares = sum_of_squares<T>;
  t.orthogonalise_scratch = orthogonalise_scratch<T>;
  t.orthogonalise = orthogonalise<T>;
  t.muon = muon_update<T>;
  return t;
}

// Constants of the program's image: no code of this instruction set runs before it is chosen.
extern const Table<float> kFloats;
extern const Table<double> kDoubles;
constinit const Table<float> kFloats = make_table<float>(MOE_LEVEL_NAME);
constinit const Table<double> kDoubles = make_table<double>(MOE_LEVEL_NAME);

}  // namespace moe::kernels::cpu::MOE_LEVEL
