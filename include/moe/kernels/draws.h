#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace moe::kernels {

// Shapes: N rows (tokens), W draws a row.

/// What a row of tokens is keyed by, so that a draw depends on which token it is for and never on
/// its place in a batch, the path that computes it or the number of threads. Both (N) int64. On a
/// device they are drawn for there; on the CPU, there for every device.
struct RowIds {
  at::Tensor sequence;  // which window, sample or row of the update
  at::Tensor position;  // absolute position in it
};

/// Which draws of a stream: `key` names stream and step (moe::stream_key), `site` the place in the
/// model (layer and kind). Draw w of row n is Philox4x32-10 of the counter
/// (w / 4, position[n], sequence[n], site), word w % 4.
struct DrawKey {
  std::uint64_t key = 0;
  std::uint32_t site = 0;
  /// (1) int64, the bits of a key in the memory of a device, which is read instead of `key`: so
  /// what was recorded once draws anew. Null on the CPU.
  const at::Tensor* memory = nullptr;
};

/// Draws below this drop with probability p: p of all 2^32 values.
inline std::uint32_t drop_threshold(double p) { return static_cast<std::uint32_t>(p * 0x1p32); }

/// Draws of several sites of one width, one after another: each begins a new block of four words.
constexpr std::int64_t whole_blocks(std::int64_t width) { return (width + 3) / 4 * 4; }

/// (N, W) of 0 and 1/(1-p), each 0 with probability p. Same result on every device and thread
/// count. `like` gives dtype (double or float) and device.
at::Tensor dropout_mask(const RowIds& rows, std::int64_t width, double p, DrawKey key,
                        const at::Tensor& like);

/// (N, W) standard normal draws (Box and Muller on word pairs), likewise; devices differ in their
/// last digits.
at::Tensor normal_draws(const RowIds& rows, std::int64_t width, DrawKey key,
                        const at::Tensor& like);

/// The same, and (N, W) int64 of the 32-bit words that both are made of, in plain tensor operations
/// where the rows are: the twins that tests hold the fast paths against.
at::Tensor dropout_mask_reference(const RowIds& rows, std::int64_t width, double p, DrawKey key,
                                  const at::Tensor& like);
at::Tensor normal_draws_reference(const RowIds& rows, std::int64_t width, DrawKey key,
                                  const at::Tensor& like);
at::Tensor words_reference(const RowIds& rows, std::int64_t width, DrawKey key);

/// The words by the loop that fills dropout_mask; normal_draws and the fused layers have vector
/// code of their own (kernels/cpu/random.h).
at::Tensor words(const RowIds& rows, std::int64_t width, DrawKey key);

}  // namespace moe::kernels
