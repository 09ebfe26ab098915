#pragma once

// One instruction set's copy of the kernels that Products holds.

#include "kernels/cpu/attention.h"
#include "kernels/cpu/mixture.h"
#include "kernels/cpu/table.h"
#include "kernels/cpu/tiles.h"
#include "kernels/cpu/vocabulary.h"

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
  p.vocabulary_forward = [](const Vocabulary<T>& layer, Index group, T* scratch) {
    const TileScope tiles;
    VocabularyPanels<T>(layer, group, scratch).forward();
  };
  p.vocabulary_backward = [](const Vocabulary<T>& layer, Index group, T* scratch) {
    const TileScope tiles;
    VocabularyPanels<T>(layer, group, scratch).backward();
  };
  p.vocabulary_gradients = [](const Vocabulary<T>& layer, Index task) {
    const TileScope tiles;
    vocabulary_gradients(layer, task);
  };
  return p;
}

}  // namespace moe::kernels::cpu::MOE_LEVEL
