#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace moe::kernels {

/// Memory for activations and scratch, taken once: tensors are handed out one after another from
/// one block, and all go back at once with `reset`. The first round finds out how much is needed.
/// What was handed out must not be read after the next reset; gradients do not live here.
class Workspace {
 public:
  Workspace() = default;
  /// One that hands out nothing and only counts: `take_bytes` returns null.
  static Workspace counting();
  /// Takes one block of so many bytes, if there is none yet: what is known to be needed should not
  /// be found out by growing.
  void reserve(std::int64_t bytes);
  /// A CPU tensor of any contents, its address a multiple of 64 bytes.
  at::Tensor take(at::IntArrayRef sizes, at::ScalarType type);
  /// The same as plain memory [bytes].
  void* take_bytes(std::int64_t bytes);
  /// All tensors go back. If more than one block was needed, one of the whole size follows.
  void reset();
  /// How many resets there were: what was taken in another generation must not be read.
  std::int64_t generation() const { return generation_; }
  struct Position {
    std::size_t block = 0;
    std::int64_t used = 0;
  };
  Position position() const { return {block_, used_}; }
  /// What was taken since `to` was the position goes back; earlier memory stays.
  void rewind(Position to);
  /// Size of all blocks [bytes].
  std::int64_t bytes() const;
  /// The most that was in use at once since the last reset [bytes].
  std::int64_t peak() const { return peak_; }

 private:
  /// Where the next `bytes` lie: offset in the block in use, which is made where there is none.
  std::int64_t claim(std::int64_t bytes);

  std::vector<at::Tensor> blocks_;  // (bytes) uint8 each
  std::size_t block_ = 0;           // the one in use
  std::int64_t used_ = 0;           // [bytes] of it
  std::int64_t generation_ = 0;
  std::int64_t peak_ = 0;
  bool counts_only_ = false;
};

/// A CPU tensor of the workspace, or, where that is null, of its own.
at::Tensor take_from(Workspace* workspace, at::IntArrayRef sizes, at::ScalarType type);

}  // namespace moe::kernels
