#pragma once

// One instruction set's copy of the kernels that Products holds.

#include "kernels/cpu/attention.h"
#include "kernels/cpu/head.h"
#include "kernels/cpu/mixture.h"
#include "kernels/cpu/table.h"
#include "kernels/cpu/tiles.h"

namespace moe::kernels::cpu::MOE_LEVEL {

template <class T>
constexpr Products<T> make_products(const char* name) {
  Products<T> p{};
  p.name = name;
  p.attention_forward = [](const Attention<T>& layer, Index window, T* scratch) {
    const TileScope tiles;
    AttentionWindow<T>(layer, window, scratch).forward();
  };
  p.attention_backward = [](const Attention<T>& layer, Index window, T* scratch) {
    const TileScope tiles;
    AttentionWindow<T>(layer, window, scratch).backward();
  };
  p.attention_gradients = [](const Attention<T>& layer, Index task) {
    const TileScope tiles;
    attention_gradients(layer, task);
  };
  p.experts_forward = [](const Mixture<T>& layer, const ExpertTask& task, T* scratch) {
    const TileScope tiles;
    ExpertPanels<T>(layer, task, scratch).forward();
  };
  p.experts_backward = [](const Mixture<T>& layer, const ExpertTask& task, T* scratch) {
    const TileScope tiles;
    ExpertPanels<T>(layer, task, scratch).backward();
  };
  p.expert_gradients = [](const Mixture<T>& layer, Index task) {
    const TileScope tiles;
    expert_gradients(layer, task);
  };
  p.head_forward = [](const Head<T>& layer, Index panel, T* scratch) {
    const TileScope tiles;
    head_forward(layer, panel, scratch);
  };
  p.head_backward = [](const Head<T>& layer, Index panel, T* scratch) {
    const TileScope tiles;
    head_backward(layer, panel, scratch);
  };
  p.head_gradients = [](const Head<T>& layer, Index task) {
    const TileScope tiles;
    head_gradients(layer, task);
  };
  return p;
}

}  // namespace moe::kernels::cpu::MOE_LEVEL
