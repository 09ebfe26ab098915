#pragma once

#include <vector>

#include "kernels/layer_call.h"
#include "moe/kernels/skips.h"

namespace moe::kernels {

/// What the blocks of one forward share, and what backward sums up for them.
struct SkipTape {
  SkipTape(const NgramTables& ngrams, const DropoutDraws& dropout, const LayerRun& run,
           at::ScalarType type)
      : tables(ngrams.tables),
        drop(dropout_arguments(dropout)),
        rows(run.rows),
        gradients(run.gradients),
        memory(run.workspace, type) {}

  std::vector<NgramTable> tables;
  at::Tensor chosen;  // (tables, N) int64 rows; negative: none
  cpu::Dropout drop;
  RowIds rows;
  GradientLedger* gradients;
  Memory memory;
  at::Tensor values;  // of the first block's attention, as its layer lays them out
  // Gradients, once the last block's backward has begun their sums.
  at::Tensor d_stream, d_ngrams;  // (B, T, C)
  at::Tensor d_values;            // as `values`
};

}  // namespace moe::kernels
