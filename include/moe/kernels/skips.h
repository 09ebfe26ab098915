#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "moe/kernels/layers.h"

namespace moe::kernels {

// What blocks read past the blocks before them: what entered the first, and rows of n-gram tables.
// Shapes: B sequences, T positions, N = B*T, C width.

/// Rows for R runs of n symbols, named by numbers (run_number), sorted.
struct NgramTable {
  std::int64_t order = 0;  // n
  at::Tensor runs;         // (R) int64 on the CPU
  at::Tensor weight;       // (R, C)
};
/// All tables of a model over V symbols; V itself stands for a place before the window.
struct NgramTables {
  std::int64_t symbols = 0;
  std::int64_t reach = 0;  // symbols before a token that its longest run has
  std::vector<NgramTable> tables;
};

struct SkipTape;

/// What there is to read, of one forward.
struct SkipSources {
  at::Tensor stream;  // (B, T, C) what enters the first block; undefined: it is not read again
  at::Tensor ngrams;  // (B, T, C) sums of rows; undefined: there are no tables
  at::Tensor values;  // of the first block's attention, of the composed modules
  std::shared_ptr<SkipTape> tape = {};  // of the fused layers: where gradients are summed up
};

/// Of x (B, T, C), which enters the first block. `reads_stream`: it is read again. ids (B, T)
/// follow `before` (B, reach) where that is defined; else they begin a window. The gradients of the
/// tables are written by the backward of the first block's enter_block.
SkipSources make_skips(const at::Tensor& x, bool reads_stream, const NgramTables& ngrams,
                       const at::Tensor& ids, const at::Tensor& before, const DropoutDraws& dropout,
                       const LayerRun& run);

/// Copies what a workspace holds into memory of its own, for a forward whose parts are called one
/// by one, without gradients.
void keep_apart(SkipSources& skips);

/// What a block weighs its sources by, (1) each; undefined for what it does not read.
struct SkipWeights {
  at::Tensor resid, stream, ngrams;
  bool is_first = false;  // of the blocks
};
/// resid * x + stream * sources.stream + ngrams * sources.ngrams, x (B, T, C). Without a stream to
/// read again x has no weight. Every block that reads a source must be of the same forward, one
/// after another: backward sums the sources' gradients up, and hands them on in that of the first.
at::Tensor enter_block(const at::Tensor& x, const SkipWeights& weights, const SkipSources& sources,
                       const LayerRun& run);

}  // namespace moe::kernels
