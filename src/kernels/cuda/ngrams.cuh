#pragma once

#include "common.cuh"

// Rows of n-gram tables, after kernels/skip_layer.cpp: a run of n symbols that has a row adds it to
// the token that ends the run. Gradients of the tables are those of embedding.cuh, by the rows
// found here. Shapes: N tokens of C values in windows of T tokens, R runs of a table.

namespace moe::kernels::cuda {

/// A table's runs, each named by a number of n digits to the base V + 1, where V stands for a place
/// before the window.
struct NgramRuns {
  int order;          // n
  Index symbols;      // V
  Index count;        // R
  const Index* runs;  // (R) sorted
};

/// rows (N): of each token's run in the table, -1 if it has none. Any grid, any block. Twin:
/// find_rows, of windows that begin.
__global__ void find_ngrams(NgramRuns table, const Index* ids, Index tokens, Index time,
                            Index* rows) {
  for (Index n = grid_thread(); n < tokens; n += grid_threads()) {
    Index number = 0;
    for (int back = table.order - 1; back >= 0; --back) {
      const Index id = back <= n % time ? ids[n - back] : table.symbols;
      number = number * (table.symbols + 1) + id;
    }
    Index low = 0, high = table.count;
    while (low < high) {
      const Index middle = (low + high) / 2;
      if (table.runs[middle] < number)
        low = middle + 1;
      else
        high = middle;
    }
    rows[n] = low < table.count && table.runs[low] == number ? low : -1;
  }
}

/// out (N, C) = the rows of a table (R, C), 0 where a token has none; added to what is there, for
/// tables behind the first, or in its place. Any grid; a block is whole warps, a warp a token.
/// Twin: sum_rows, without its dropout.
template <class T>
__global__ void add_rows(const Index* rows, const T* table, Index tokens, Index width, bool adds,
                         T* out) {
  for (Index n = grid_warp(); n < tokens; n += grid_warps()) {
    const Index row = rows[n];
    for (Index c = lane_number(); c < width; c += kWarp) {
      const T before = adds ? out[n * width + c] : T{0};
      out[n * width + c] = row < 0 ? before : before + table[row * width + c];
    }
  }
}

}  // namespace moe::kernels::cuda
