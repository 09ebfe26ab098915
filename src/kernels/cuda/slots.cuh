#pragma once

#include "common.cuh"

// The slot table of docs/adr/0041 on the device, by three kernels, and its inverse. Shapes: S slots
// (token, choice), E experts, 1024 at most; kStretch slots a stretch, ceil(S / kStretch) stretches.
// Stretches are counted each by itself and keep their order, so that nothing depends on which block
// comes first. Twin of the three: kernels/slot_sort.h.

namespace moe::kernels::cuda {

constexpr int kStretch = 256;
constexpr int kMostExperts = 1024;

/// counts (stretches, E): how many slots of each stretch chose each expert. table (table_size)
/// becomes -1. Grid: the stretches; block: kStretch.
__global__ void count_slots(const int* chosen, Index slots, int experts, int* counts, int* table,
                            Index table_size) {
  __shared__ int mine[kStretch];
  const Index slot = grid_thread();
  mine[threadIdx.x] = slot < slots ? chosen[slot] : -1;
  __syncthreads();
  for (int e = static_cast<int>(threadIdx.x); e < experts; e += kStretch) {
    int count = 0;
    for (int i = 0; i < kStretch; ++i) count += mine[i] == e;
    counts[Index{blockIdx.x} * experts + e] = count;
  }
  for (Index i = slot; i < table_size; i += grid_threads()) table[i] = -1;
}

/// counts become the slots of each expert in earlier stretches. load (E): slots that it serves, at
/// most `capacity` of them if that is not negative, save the last `unbound` experts. first_panel
/// (E + 1): where its panels begin. Grid: 1; block: kMostExperts.
__global__ void place_experts(int* counts, Index stretches, int experts, int capacity, int unbound,
                              int* first_panel, Index* load) {
  __shared__ int panels[kMostExperts];  // up to and with each expert
  const int e = static_cast<int>(threadIdx.x);
  int total = 0;
  for (Index s = 0; s < stretches && e < experts; ++s) {
    int& count = counts[s * experts + e];
    const int before = total;
    total += count;
    count = before;
  }
  if (capacity >= 0 && e < experts - unbound && total > capacity) total = capacity;
  panels[e] = (total + kPanel - 1) / kPanel;
  for (int step = 1; step < kMostExperts; step *= 2) {
    __syncthreads();
    const int before = e >= step ? panels[e - step] : 0;
    __syncthreads();
    panels[e] += before;
  }
  if (e == 0) first_panel[0] = 0;
  if (e >= experts) return;
  first_panel[e + 1] = panels[e];
  load[e] = total;
}

/// table (panels, kPanel): the slots of each expert in order. places (S): where each slot stands in
/// it, -1 if it is beyond its expert's capacity. Grid: the stretches; block: kStretch.
__global__ void fill_slots(const int* chosen, Index slots, int experts, const int* counts,
                           const int* first_panel, const Index* load, int* table, int* places) {
  __shared__ int mine[kStretch];
  const Index slot = grid_thread();
  const int e = slot < slots ? chosen[slot] : -1;
  mine[threadIdx.x] = e;
  __syncthreads();
  if (e < 0) return;
  int rank = counts[Index{blockIdx.x} * experts + e];
  for (Word i = 0; i < threadIdx.x; ++i) rank += mine[i] == e;
  const int place = rank < load[e] ? first_panel[e] * kPanel + rank : -1;
  places[slot] = place;
  if (place >= 0) table[place] = static_cast<int>(slot);
}

}  // namespace moe::kernels::cuda
