#include "moe/kernels/gradient_ledger.h"

#include <c10/util/Exception.h>

#include <utility>

namespace moe::kernels {

GradientLedger::GradientLedger(at::Tensor flat, const std::vector<at::Tensor>& parameters)
    : flat_(std::move(flat)), written_(parameters.size()) {
  entries_.reserve(parameters.size());
  for (const auto& parameter : parameters) {
    index_.emplace(parameter.unsafeGetTensorImpl(), entries_.size());
    entries_.push_back({parameter});
  }
}

void GradientLedger::begin_update() {
  for (auto& entry : entries_) entry.is_written = false;
  written_ = 0;
}

bool GradientLedger::is_first_write(const at::Tensor& parameter) {
  const auto found = index_.find(parameter.unsafeGetTensorImpl());
  TORCH_CHECK(found != index_.end(), "a parameter ", parameter.sizes(), " that no ledger knows");
  auto& entry = entries_[found->second];
  if (entry.is_written) return false;
  entry.is_written = true;
  ++written_;
  return true;
}

void GradientLedger::zero_unwritten() {
  if (written_ == entries_.size()) return;
  if (written_ == 0)
    flat_.zero_();  // one pass, and on a GPU one launch
  else
    for (const auto& entry : entries_)
      if (!entry.is_written) entry.parameter.mutable_grad().zero_();
  for (auto& entry : entries_) entry.is_written = true;
  written_ = entries_.size();
}

}  // namespace moe::kernels
