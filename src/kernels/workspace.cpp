#include "moe/kernels/workspace.h"

#include <ATen/ops/empty.h>
#include <c10/core/Storage.h>
#include <c10/core/TensorImpl.h>

#include <algorithm>
#include <utility>

namespace moe::kernels {

namespace {

constexpr std::int64_t kAlignment = 64;  // of a cache line and the widest vector [bytes]
constexpr std::int64_t kSmallestBlock = 1LL << 20U;  // [bytes]

std::int64_t aligned(std::int64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

/// A plain tensor over a storage, not a view: autograd must not tie such tensors to one another.
/// Made by hand, since at::Tensor's own calls for it, three, are a tenth of a token's time where a
/// model is small. `begin` [bytes] is a multiple of the alignment.
at::Tensor tensor_over(const c10::Storage& storage, std::int64_t begin, at::IntArrayRef sizes,
                       at::ScalarType type) {
  auto tensor = c10::make_intrusive<c10::TensorImpl>(c10::Storage(storage),
                                                     c10::DispatchKeySet(c10::DispatchKey::CPU),
                                                     c10::scalarTypeToTypeMeta(type));
  tensor->set_storage_offset(begin / static_cast<std::int64_t>(c10::elementSize(type)));
  tensor->set_sizes_contiguous(sizes);
  return at::Tensor(std::move(tensor));
}

}  // namespace

Workspace Workspace::counting() {
  Workspace workspace;
  workspace.counts_only_ = true;
  return workspace;
}

void Workspace::reserve(std::int64_t bytes) {
  if (blocks_.empty() && bytes > 0) blocks_.push_back(at::empty({aligned(bytes)}, at::kByte));
}

std::int64_t Workspace::claim(std::int64_t bytes) {
  const auto whole = aligned(bytes);
  while (block_ < blocks_.size() && used_ + whole > blocks_[block_].numel()) {
    ++block_;
    used_ = 0;
  }
  if (block_ == blocks_.size() && !counts_only_)
    blocks_.push_back(at::empty({std::max({whole, kSmallestBlock, this->bytes()})}, at::kByte));
  const auto begin = used_;
  used_ += whole;
  std::int64_t before = 0;
  for (std::size_t i = 0; i < block_; ++i) before += blocks_[i].numel();
  peak_ = std::max(peak_, before + used_);
  return begin;
}

at::Tensor Workspace::take(at::IntArrayRef sizes, at::ScalarType type) {
  TORCH_CHECK(!counts_only_, "a workspace that only counts has no tensors");
  std::int64_t count = 1;
  for (const auto size : sizes) count *= size;
  const auto bytes = count * static_cast<std::int64_t>(c10::elementSize(type));
  const auto begin = claim(bytes);
  return tensor_over(blocks_[block_].storage(), begin, sizes, type);
}

void* Workspace::take_bytes(std::int64_t bytes) {
  const auto begin = claim(bytes);
  if (counts_only_) return nullptr;
  return blocks_[block_].mutable_data_ptr<std::uint8_t>() + begin;
}

void Workspace::reset() {
  ++generation_;
  if (blocks_.size() > 1) {
    const auto whole = bytes();
    blocks_.clear();  // before the new one: peak memory
    blocks_.push_back(at::empty({whole}, at::kByte));
  }
  rewind({});
  peak_ = 0;
}

void Workspace::rewind(Position to) {
  block_ = to.block;
  used_ = to.used;
}

std::int64_t Workspace::bytes() const {
  std::int64_t total = 0;
  for (const auto& block : blocks_) total += block.numel();
  return total;
}

at::Tensor take_from(Workspace* workspace, at::IntArrayRef sizes, at::ScalarType type) {
  return workspace != nullptr ? workspace->take(sizes, type) : at::empty(sizes, type);
}

}  // namespace moe::kernels
