#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "moe/base/json.h"
#include "moe/data/permutation.h"
#include "moe/data/token_view.h"

namespace moe {

/// inputs[b*T + t] and targets (one to the right), row-major (B, T).
struct Batch {
  std::int64_t batch_size = 0, block_size = 0;
  std::vector<std::int64_t> inputs, targets;
  std::vector<std::int64_t> offsets;  // of each window in the split
};

enum class WindowOrder { random, epoch, sequential };

/// Draws training windows; its cursor is the whole state, so a run resumes exactly.
class WindowSampler {
 public:
  /// In the order "epoch" so many windows are shuffled as a list. Of more, each is computed where
  /// it is handed out (Permutation), which is another order; a state says which one it is of.
  static constexpr std::int64_t kMostListed = std::int64_t{1} << 17U;

  /// What `tokens` shows must outlive the sampler. Throws DataError when shorter than block_size +
  /// 1.
  WindowSampler(TokenView tokens, std::int64_t block_size, WindowOrder order, std::uint64_t key);
  /// The next `batch_size` windows.
  Batch next(std::int64_t batch_size);
  Json state() const;
  /// Throws CheckpointError, beginning with `where`, for a state that does not fit.
  void restore(const Json& state, std::string_view where = "state.json");

 private:
  std::int64_t next_offset();
  void begin_epoch();
  /// The window at a place of the epoch that is being handed out.
  std::int64_t epoch_offset(std::int64_t place) const;

  TokenView tokens_;
  std::int64_t block_size_;
  WindowOrder order_;
  std::uint64_t key_;
  std::int64_t drawn_ = 0;     // windows handed out since the run began
  std::int64_t epoch_ = -1;    // order "epoch": which one is being handed out
  std::int64_t in_epoch_ = 0;  // windows of it handed out
  std::int64_t of_epoch_ = 0;  // windows that it has
  std::int64_t phase_ = 0;     // where its first window begins
  bool is_computed_;           // its order, or else listed
  std::vector<std::int64_t> shuffled_;
  std::optional<Permutation> permutation_;
};

/// Windows at the given offsets.
Batch gather_windows(TokenView tokens, std::span<const std::int64_t> offsets,
                     std::int64_t block_size);

}  // namespace moe
