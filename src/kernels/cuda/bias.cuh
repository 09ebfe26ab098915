#pragma once

#include "common.cuh"

// Biases of products, and the sums over rows that are their gradients, after kernels/cpu/linear.h.
// Shapes: N rows of W values. Experts' rows are the places of the slot table (slots.cuh), whose
// panels are an expert's from first_panel[e] to first_panel[e + 1].

namespace moe::kernels::cuda {

constexpr Index kBiasRows = 64;  // whose part of a bias's gradient one thread adds up

/// parts (ceil(N / kBiasRows), W) of the sums over rows (N, W), which sum_stretches adds up. Any
/// grid, any block. Twin: bias_gradient.
template <class T>
__global__ void column_parts(const T* values, Index rows, Index width, double* parts) {
  for (Index i = grid_thread(); i < pieces(rows, kBiasRows) * width; i += grid_threads()) {
    const Index c = i % width, first = i / width * kBiasRows;
    T sum = 0;
    for (Index n = first; n < rows && n < first + kBiasRows; ++n) sum += values[n * width + c];
    parts[i] = static_cast<double>(sum);
  }
}

/// values (panels * kPanel, W) of experts' places += their expert's bias (E, W), where no slot
/// stands, too: nothing reads those. Any grid; a block is whole warps, a warp a place.
template <class T>
__global__ void add_expert_bias(const int* first_panel, int experts, Index width, const T* bias,
                                T* values) {
  for (Index place = grid_warp(); place < Index{first_panel[experts]} * kPanel;
       place += grid_warps()) {
    int low = 0, high = experts;  // the last expert whose panels begin at this one's or before it
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      if (first_panel[middle] <= place / kPanel)
        low = middle;
      else
        high = middle;
    }
    for (Index c = lane_number(); c < width; c += kWarp)
      values[place * width + c] += bias[low * width + c];
  }
}

/// parts (panels, W): the sums over the places of each panel. d_values (panels * kPanel, W) is 0
/// where no slot stands. Any grid, any block.
template <class T>
__global__ void expert_bias_parts(const int* first_panel, int experts, Index width,
                                  const T* d_values, double* parts) {
  for (Index i = grid_thread(); i < first_panel[experts] * width; i += grid_threads()) {
    const T* panel = d_values + i / width * kPanel * width + i % width;
    T sum = 0;
    for (Index p = 0; p < kPanel; ++p) sum += panel[p * width];
    parts[i] = static_cast<double>(sum);
  }
}

/// d_bias (E, W) = the parts of each expert's panels; added to what is there, or in its place. Any
/// grid; a block is whole warps, a warp a value. Twin of both: bias_gradient of an expert.
template <class T>
__global__ void expert_bias_gradients(const int* first_panel, int experts, Index width,
                                      const double* parts, bool adds, T* d_bias) {
  for (Index i = grid_warp(); i < experts * width; i += grid_warps()) {
    const Index e = i / width, c = i % width;
    double sum = 0;
    for (Index p = first_panel[e] + lane_number(); p < first_panel[e + 1]; p += kWarp)
      sum += parts[p * width + c];
    sum = warp_sum(sum);
    if (lane_number() == 0) d_bias[i] = (adds ? d_bias[i] : T{0}) + static_cast<T>(sum);
  }
}

}  // namespace moe::kernels::cuda
