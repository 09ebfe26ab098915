#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "moe/data/corpus.h"
#include "moe/data/windows.h"
#include "moe/model/language_model.h"

namespace moe {

/// Asked between batches; a signal number ends the evaluation with moe::Interrupted.
using StopRequest = std::function<int()>;

/// Windows of `time` targets in one forward of an evaluation, at most.
std::int64_t evaluation_windows(std::int64_t time);

/// Which part of a split is looked at, and how.
struct SplitRequest {
  std::uint64_t key = 0;         // names the draws of a router whose noise is on in evaluation
  std::int64_t max_windows = 0;  // > 0: so many windows spread evenly over the split instead of all
  /// > 0, at most block_size: windows begin so far apart, and each but the first has its last
  /// targets counted alone. Not with max_windows.
  std::int64_t stride = 0;
  StopRequest stop = {};
  /// Told after each batch how many of how many targets are done.
  std::function<void(std::int64_t done, std::int64_t all)> progress = {};
};

/// Throws Interrupted where `stop` has a signal.
void check_stop(const StopRequest& stop);

/// What one forward sees of a split: B windows of T targets.
struct SplitBatch {
  Batch windows;                  // as numbers
  at::Tensor ids, targets;        // (B, T) int64 on the model's device; kNoTarget where none counts
  std::int64_t counted = 0;       // targets that count
  ForwardContext context;         // of an evaluation, without workspace
  std::int64_t most_windows = 0;  // the largest B among batches of this T
};

/// A batch of the windows at `offsets`, the last `counted` targets of each; the caller gives it its
/// rows.
SplitBatch make_batch(const SparseMoELanguageModel& model, TokenView tokens,
                      std::span<const std::int64_t> offsets, std::int64_t time,
                      std::int64_t counted);

/// Hands every target of `tokens`, at least 2, to `visit` once: windows of block_size end to end,
/// the last one shorter, or by `stride`. The draws of a token are keyed by its position in the
/// split, so that they do not depend on how windows are cut. Throws DataError for a text that is
/// too short.
void for_each_batch(const SparseMoELanguageModel& model, TokenView tokens,
                    const SplitRequest& request,
                    const std::function<void(const SplitBatch&)>& visit);

/// Throws DataError where the text has less than `least` symbols.
void require_length(TokenView tokens, std::int64_t least);

}  // namespace moe
