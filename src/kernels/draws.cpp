#include "moe/kernels/draws.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <numbers>

#include "kernels/cpu/table.h"
#include "kernels/gpu_draws.h"
#include "moe/base/random.h"

namespace moe::kernels {

namespace {

constexpr std::int64_t kGrain =
    256;  // rows a task at least: below that threads cost more than draws
constexpr std::int64_t kMask32 = 0xFFFFFFFFLL;

using cpu::blocks_of;

Philox4 block_of(std::int64_t block, std::int64_t position, std::int64_t sequence, DrawKey key) {
  return philox4x32({static_cast<std::uint32_t>(block), static_cast<std::uint32_t>(position),
                     static_cast<std::uint32_t>(sequence), key.site},
                    key.key);
}

/// Calls `use(row, block, words)` for each block of four words of each row, in parallel over rows.
template <class Use>
void for_each_block(const RowIds& rows, std::int64_t width, DrawKey key, const Use& use) {
  const auto sequence = rows.sequence.contiguous();
  const auto position = rows.position.contiguous();
  const auto* sequences = sequence.const_data_ptr<std::int64_t>();
  const auto* positions = position.const_data_ptr<std::int64_t>();
  const auto blocks = blocks_of(width);
  at::parallel_for(0, sequence.numel(), std::max<std::int64_t>(1, kGrain * 4 / blocks),
                   [&](std::int64_t begin, std::int64_t end) {
                     for (auto row = begin; row < end; ++row)
                       for (std::int64_t block = 0; block < blocks; ++block)
                         use(row, block, block_of(block, positions[row], sequences[row], key));
                   });
}

/// 32 x 32 -> (high, low) words of the product, on int64 tensors that hold 32-bit values. The
/// product is split so that it never leaves the range of a signed 64-bit integer.
std::pair<at::Tensor, at::Tensor> multiply_words(const at::Tensor& a, std::int64_t b) {
  const auto low = (a & 0xFFFF) * b;  // < 2^48
  const auto middle = at::bitwise_right_shift(a, 16) * b + at::bitwise_right_shift(low, 16);
  return {at::bitwise_right_shift(middle, 16),
          at::bitwise_left_shift(middle & 0xFFFF, 16) | (low & 0xFFFF)};
}

template <class T>
void fill_mask(T* out, const RowIds& rows, std::int64_t width, double p, DrawKey key) {
  const auto threshold = drop_threshold(p);
  const auto kept = static_cast<T>(1.0 / (1.0 - p));
  for_each_block(rows, width, key, [=](std::int64_t row, std::int64_t block, Philox4 drawn) {
    const auto first = block * 4, count = std::min<std::int64_t>(4, width - first);
    for (std::int64_t i = 0; i < count; ++i)
      out[row * width + first + i] = drawn[static_cast<std::size_t>(i)] >= threshold ? kept : T{0};
  });
}

template <class T>
void fill_normals(T* out, const RowIds& rows, std::int64_t width, DrawKey key) {
  const auto sequence = rows.sequence.contiguous(), position = rows.position.contiguous();
  cpu::table<T>().normal_rows(
      {key.key, key.site},
      {sequence.const_data_ptr<std::int64_t>(), position.const_data_ptr<std::int64_t>()},
      sequence.numel(), width, out);
}

/// Memory on the CPU for draws that go to `like` (ADR 26): pinned for a GPU, so that the copy waits
/// for nobody.
at::Tensor memory_for(const at::Tensor& like, const RowIds& rows, std::int64_t width) {
  return at::empty(
      {rows.sequence.numel(), width},
      at::TensorOptions().dtype(like.scalar_type()).pinned_memory(like.device().is_cuda()));
}

at::Tensor handed_to(const at::Device& device, const at::Tensor& draws) {
  return draws.to(device, draws.scalar_type(), /*non_blocking=*/true);
}

/// The two halves of a key as 0-dim tensors, from where it lies.
std::pair<at::Tensor, at::Tensor> halves_of(DrawKey key, const at::TensorOptions& options) {
  const auto bits = key.memory != nullptr
                        ? (*key.memory)[0]
                        : at::full({}, static_cast<std::int64_t>(key.key), options);
  return {bits & kMask32, at::bitwise_right_shift(bits, 32) & kMask32};
}

}  // namespace

at::Tensor words_reference(const RowIds& rows, std::int64_t width, DrawKey key) {
  const auto blocks = blocks_of(width);
  const auto n = rows.sequence.numel();
  const auto options = rows.sequence.options().dtype(at::kLong);
  auto c0 = at::arange(blocks, options).unsqueeze(0).expand({n, blocks});
  auto c1 = (rows.position & kMask32).unsqueeze(1).expand({n, blocks});
  auto c2 = (rows.sequence & kMask32).unsqueeze(1).expand({n, blocks});
  auto c3 = at::full({n, blocks}, static_cast<std::int64_t>(key.site), options);
  auto [k0, k1] = halves_of(key, options);
  for (int round = 0; round < 10; ++round) {
    const auto [high0, low0] = multiply_words(c0, 0xD2511F53LL);
    const auto [high1, low1] = multiply_words(c2, 0xCD9E8D57LL);
    c0 = high1 ^ c1 ^ k0;
    c2 = high0 ^ c3 ^ k1;
    c1 = low1;
    c3 = low0;
    k0 = (k0 + 0x9E3779B9LL) & kMask32;
    k1 = (k1 + 0xBB67AE85LL) & kMask32;
  }
  return at::stack({c0, c1, c2, c3}, 2).flatten(1).narrow(1, 0, width);
}

at::Tensor dropout_mask_reference(const RowIds& rows, std::int64_t width, double p, DrawKey key,
                                  const at::Tensor& like) {
  return words_reference(rows, width, key)
      .ge(static_cast<std::int64_t>(drop_threshold(p)))
      .to(like.options())
      .mul_(1 / (1 - p));
}

at::Tensor normal_draws_reference(const RowIds& rows, std::int64_t width, DrawKey key,
                                  const at::Tensor& like) {
  const auto drawn = words_reference(rows, blocks_of(width) * 4, key);
  const auto pairs = drawn.to(at::kDouble).add(0.5).mul(0x1p-32).unflatten(1, {-1, 2});
  const auto radius = pairs.select(2, 0).log().mul(-2).sqrt();
  const auto angle = pairs.select(2, 1).mul(2 * std::numbers::pi);
  return at::stack({radius * angle.cos(), radius * angle.sin()}, 2)
      .flatten(1)
      .narrow(1, 0, width)
      .to(like.options());
}

at::Tensor words(const RowIds& rows, std::int64_t width, DrawKey key) {
  if (!rows.sequence.is_cpu()) return words_reference(rows, width, key);
  auto out = at::empty({rows.sequence.numel(), width}, at::kLong);
  auto* data = out.mutable_data_ptr<std::int64_t>();
  for_each_block(rows, width, key, [=](std::int64_t row, std::int64_t block, Philox4 drawn) {
    const auto first = block * 4, count = std::min<std::int64_t>(4, width - first);
    for (std::int64_t i = 0; i < count; ++i)
      data[row * width + first + i] = drawn[static_cast<std::size_t>(i)];
  });
  return out;
}

at::Tensor dropout_mask(const RowIds& rows, std::int64_t width, double p, DrawKey key,
                        const at::Tensor& like) {
  if (rows.sequence.is_cuda()) {
    const auto out = at::empty({rows.sequence.numel(), width}, like.options());
    draw_mask_on_gpu(rows, p, key, out);
    return out;
  }
  const auto out = memory_for(like, rows, width);
  if (like.scalar_type() == at::kDouble)
    fill_mask(out.mutable_data_ptr<double>(), rows, width, p, key);
  else
    fill_mask(out.mutable_data_ptr<float>(), rows, width, p, key);
  return handed_to(like.device(), out);
}

at::Tensor normal_draws(const RowIds& rows, std::int64_t width, DrawKey key,
                        const at::Tensor& like) {
  if (rows.sequence.is_cuda()) {
    const auto out = at::empty({rows.sequence.numel(), width}, like.options());
    draw_normals_on_gpu(rows, key, out);
    return out;
  }
  const auto out = memory_for(like, rows, width);
  if (like.scalar_type() == at::kDouble)
    fill_normals(out.mutable_data_ptr<double>(), rows, width, key);
  else
    fill_normals(out.mutable_data_ptr<float>(), rows, width, key);
  return handed_to(like.device(), out);
}

}  // namespace moe::kernels
