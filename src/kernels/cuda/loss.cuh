#pragma once

#include "common.cuh"

// Cross-entropy of logits, after kernels/cpu/vocabulary.h. Shapes: N tokens, V symbols. Targets
// below 0 do not count. Losses are in double [nats/token].

namespace moe::kernels::cuda {

/// losses (N): log of the sum of e^logit, less the target's logit; 0 for what does not count.
/// largest (N) and totals (N), the sum of e^(logit - largest), are what backward reads. Grid: N;
/// block: any. Twin: VocabularyPanels::forward.
template <class T>
__global__ void cross_entropy(const T* logits, const Index* targets, Index symbols, T* largest,
                              double* totals, double* losses) {
  const Index n = blockIdx.x;
  const T* mine = logits + n * symbols;
  T most = mine[0];
  for (Index v = threadIdx.x; v < symbols; v += blockDim.x) most = mine[v] > most ? mine[v] : most;
  most = block_max(most);
  double sum = 0;
  for (Index v = threadIdx.x; v < symbols; v += blockDim.x)
    sum += static_cast<double>(exp(mine[v] - most));
  sum = block_sum(sum);
  if (threadIdx.x != 0) return;
  largest[n] = most;
  totals[n] = sum;
  const Index target = targets[n];
  losses[n] =
      target < 0 ? 0 : log(sum) + (static_cast<double>(most) - static_cast<double>(mine[target]));
}

/// mean (1) of the losses of tokens that count, 0 if none does; counted (1): how many do. Grid: 1;
/// block: any.
__global__ void mean_loss(const double* losses, const Index* targets, Index tokens, double* mean,
                          Index* counted) {
  double sum = 0;
  Index count = 0;
  for (Index n = threadIdx.x; n < tokens; n += blockDim.x) {
    sum += losses[n];
    count += targets[n] >= 0;
  }
  sum = block_sum(sum);
  count = block_sum(count);
  if (threadIdx.x != 0) return;
  *mean = count == 0 ? 0 : sum / static_cast<double>(count);
  *counted = count;
}

/// d_logits (N, V) of the mean, whose own gradient is d_loss (1). d_logits may be logits. Grid: N;
/// block: any. Twin: VocabularyPanels::backward.
template <class T>
__global__ void cross_entropy_backward(const T* logits, const Index* targets, Index symbols,
                                       const T* largest, const double* totals, const double* d_loss,
                                       const Index* counted, T* d_logits) {
  const Index n = blockIdx.x, first = n * symbols, target = targets[n];
  const double share = target < 0 ? 0 : *d_loss / static_cast<double>(*counted);
  const T scale = static_cast<T>(share / totals[n]), most = largest[n];
  for (Index v = threadIdx.x; v < symbols; v += blockDim.x) {
    const T hit = v == target ? static_cast<T>(share) : T{0};
    d_logits[first + v] = exp(logits[first + v] - most) * scale - hit;
  }
}

}  // namespace moe::kernels::cuda
