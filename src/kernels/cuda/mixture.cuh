#pragma once

#include "draws.cuh"

// Ways of tokens to their experts and back, after kernels/cpu/mixture.h. Shapes: N tokens, C their
// width, M slots of a token (its choices, then shared experts), P places of the slot table
// (slots.cuh), panels * kPanel of them. Both ways read by places: a token's sum has M terms in the
// order of its slots, and nothing is added to what another thread writes.

namespace moe::kernels::cuda {

/// Which token stands at which place.
struct Places {
  Index tokens, width;
  int token_slots;   // M
  Index count;       // P
  const int* table;  // (P) slots, -1 where there is none
  const int* of;     // (N, M) place of each slot, -1 beyond its expert's capacity
};

/// What happens to an answer on its way: dropout, then its gate.
template <class T>
struct Gates {
  const T* values;  // (N, M)
  Dropout dropout;  // slot m of a token has the blocks from m * blocks_of(C) on
  bool drops;
};

/// Dropout of four values of a slot's answer, those of `block`.
template <class T>
__device__ inline Factors<T> answer_factors(const Gates<T>& gates, const Places& places, Index slot,
                                            Index block) {
  if (!gates.drops) return {{T{1}, T{1}, T{1}, T{1}}};
  const Index m = slot % places.token_slots;
  return dropout_factors<T>(gates.dropout, slot / places.token_slots,
                            m * blocks_of(places.width) + block);
}

/// rows (P, C): the token of each place, 0 where there is none. x (N, C). Any grid; a block is
/// whole warps, a warp a row: dividing by the width for each value would cost more than moving it.
template <class T>
__global__ void gather_tokens(Places places, const T* x, T* rows) {
  for (Index place = grid_warp(); place < places.count; place += grid_warps()) {
    const Index slot = places.table[place];
    const T* token = slot < 0 ? nullptr : x + slot / places.token_slots * places.width;
    for (Index c = lane_number(); c < places.width; c += kWarp)
      rows[place * places.width + c] = slot < 0 ? T{0} : token[c];
  }
}

/// d_x (N, C) = d_past (N, C), if it is not null, plus what the M places of a token give back. The
/// backward of gather_tokens. Any grid; a block is whole warps, a warp a token.
template <class T>
__global__ void gather_tokens_backward(Places places, const T* d_rows, const T* d_past, T* d_x) {
  for (Index n = grid_warp(); n < places.tokens; n += grid_warps()) {
    const int* of = places.of + n * places.token_slots;
    for (Index c = lane_number(); c < places.width; c += kWarp) {
      T sum = d_past == nullptr ? T{0} : d_past[n * places.width + c];
      for (int m = 0; m < places.token_slots; ++m)
        if (of[m] >= 0) sum += d_rows[of[m] * places.width + c];
      d_x[n * places.width + c] = sum;
    }
  }
}

/// out (N, C) = x (N, C), if it is not null, plus a token's answers (P, C), each after dropout
/// times its gate. Any grid, any block. Twin: combine_tokens, with the dropout of ExpertPanels.
template <class T>
__global__ void combine(Places places, Gates<T> gates, const T* answers, const T* x, T* out) {
  for_each_block(places.tokens, places.width, [&](Index n, Index block, Index first, int count) {
    T sums[4] = {};
    if (x != nullptr) for_each_value(count, [&](int w) { sums[w] = x[first + w]; });
    for (Index s = n * places.token_slots; s < (n + 1) * places.token_slots; ++s) {
      if (places.of[s] < 0) continue;
      const Factors<T> kept = answer_factors(gates, places, s, block);
      const T* answer = answers + places.of[s] * places.width + 4 * block;
      for_each_value(count,
                     [&](int w) { sums[w] += gates.values[s] * (answer[w] * kept.factor[w]); });
    }
    for_each_value(count, [&](int w) { out[first + w] = sums[w]; });
  });
}

/// d_answers (P, C) from d_out (N, C): 0 where a place has no slot. Any grid, any block. Twin:
/// ExpertPanels::answer_gradients.
template <class T>
__global__ void combine_backward(Places places, Gates<T> gates, const T* d_out, T* d_answers) {
  for_each_block(places.count, places.width, [&](Index place, Index block, Index first, int count) {
    const Index slot = places.table[place];
    if (slot < 0) return for_each_value(count, [&](int w) { d_answers[first + w] = 0; });
    const Factors<T> kept = answer_factors(gates, places, slot, block);
    const T* d = d_out + slot / places.token_slots * places.width + 4 * block;
    for_each_value(
        count, [&](int w) { d_answers[first + w] = d[w] * gates.values[slot] * kept.factor[w]; });
  });
}

/// d_gates (N, M): the product of a token's d_out with each of its answers after dropout, 0 for a
/// slot without a place. Any grid; a block is whole warps, a warp a slot. Twin:
/// ExpertPanels::gate_gradients.
template <class T>
__global__ void gate_gradients(Places places, Gates<T> gates, const T* answers, const T* d_out,
                               T* d_gates) {
  const Index c = places.width, slots = places.tokens * places.token_slots;
  for (Index s = grid_warp(); s < slots; s += grid_warps()) {
    T sum = 0;
    for (Index block = lane_number(); block < blocks_of(c) && places.of[s] >= 0; block += kWarp) {
      const Factors<T> kept = answer_factors(gates, places, s, block);
      for (Index w = 0; w < 4 && 4 * block + w < c; ++w)
        sum += d_out[s / places.token_slots * c + 4 * block + w] *
               (answers[places.of[s] * c + 4 * block + w] * kept.factor[w]);
    }
    sum = warp_sum(sum);
    if (lane_number() == 0) d_gates[s] = sum;
  }
}

}  // namespace moe::kernels::cuda
