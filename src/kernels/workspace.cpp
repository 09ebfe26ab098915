#include "moe/kernels/workspace.h"

#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/empty.h>

#include <algorithm>

namespace moe::kernels {

namespace {

constexpr std::int64_t kAlignment = 64;  // of a cache line and the widest vector [bytes]
constexpr std::int64_t kSmallestBlock = 1LL << 20U;  // [bytes]

std::int64_t aligned(std::int64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

}  // namespace

at::Tensor Workspace::take(at::IntArrayRef sizes, at::ScalarType type) {
  // Plain tensors over one storage, not views: autograd must not tie them to one another.
  const at::AutoDispatchBelowADInplaceOrView no_views;
  std::int64_t count = 1;
  for (const auto size : sizes) count *= size;
  const auto width = static_cast<std::int64_t>(c10::elementSize(type));
  const auto bytes = aligned(count * width);
  while (block_ < blocks_.size() && used_ + bytes > blocks_[block_].numel()) {
    ++block_;
    used_ = 0;
  }
  if (block_ == blocks_.size())
    blocks_.push_back(at::empty({std::max({bytes, kSmallestBlock, this->bytes()})}, at::kByte));
  const auto begin = used_;
  used_ += bytes;
  return blocks_[block_].narrow(0, begin, count * width).view(type).view(sizes);
}

void Workspace::reset() {
  if (blocks_.size() > 1) {
    const auto whole = bytes();
    blocks_.clear();  // before the new one: peak memory
    blocks_.push_back(at::empty({whole}, at::kByte));
  }
  rewind({});
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

}  // namespace moe::kernels
