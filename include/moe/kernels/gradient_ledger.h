#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <unordered_map>
#include <vector>

namespace moe::kernels {

/// Which gradients have been written since an update began. The first writer replaces what the last
/// update left, later ones add to it: nothing is zeroed only to be added to.
class GradientLedger {
 public:
  /// `flat` holds the gradients of all `parameters`, each a view of its piece.
  GradientLedger(at::Tensor flat, const std::vector<at::Tensor>& parameters);

  /// From here on every gradient is of an earlier update.
  void begin_update();
  /// Whether the gradient of `parameter` is of an earlier update still; from now on it is not.
  bool is_first_write(const at::Tensor& parameter);
  /// Zeroes what nobody has written in this update.
  void zero_unwritten();

 private:
  struct Entry {
    at::Tensor parameter;
    bool is_written = true;
  };
  at::Tensor flat_;
  std::vector<Entry> entries_;
  std::unordered_map<const void*, std::size_t> index_;  // by the identity of the parameter
  std::size_t written_ = 0;
};

}  // namespace moe::kernels
