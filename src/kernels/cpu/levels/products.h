#pragma once

// One instruction set's copy of the kernels that Products holds.

#include "kernels/cpu/attention.h"
#include "kernels/cpu/head.h"
#include "kernels/cpu/mixture.h"
#include "kernels/cpu/table.h"

namespace moe::kernels::cpu::MOE_LEVEL {

template <class T>
constexpr Products<T> make_products() {
  Products<T> p{};
  p.attention_forward = [](const Attention<T>& layer, Index window, T* scratch) {
    AttentionWindow<T>(layer, window, scratch).forward();
  };
  p.attention_backward = [](const Attention<T>& layer, Index window, T* scratch) {
    AttentionWindow<T>(layer, window, scratch).backward();
  };
  p.attention_gradients = attention_gradients<T>;
  p.experts_forward = [](const Mixture<T>& layer, const ExpertTask& task, T* scratch) {
    ExpertPanels<T>(layer, task, scratch).forward();
  };
  p.experts_backward = [](const Mixture<T>& layer, const ExpertTask& task, T* scratch) {
    ExpertPanels<T>(layer, task, scratch).backward();
  };
  p.expert_gradients = expert_gradients<T>;
  p.head_forward = head_forward<T>;
  p.head_backward = head_backward<T>;
  p.head_gradients = head_gradients<T>;
  return p;
}

}  // namespace moe::kernels::cpu::MOE_LEVEL
