#pragma once

#include <ATen/record_function.h>

#include <algorithm>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

namespace moe::test {

/// The tensor operations that this thread calls while one lives, each with the sizes of its
/// tensors, as text. One at a time.
class RecordedOperations {
 public:
  RecordedOperations() {
    recorded().clear();
    handle_ = at::addThreadLocalCallback(
        at::RecordFunctionCallback(&note).needsInputs(true).scopes({at::RecordScope::FUNCTION}));
  }
  ~RecordedOperations() { at::removeCallback(handle_); }
  RecordedOperations(const RecordedOperations&) = delete;
  RecordedOperations& operator=(const RecordedOperations&) = delete;

  const std::vector<std::string>& all() const { return recorded(); }

  /// Those that wait for a device, since their result is a value for the host or has a shape that
  /// depends on values. Copies to the CPU, which wait too, are none on a CPU and are not seen
  /// there.
  std::vector<std::string> waiting() const {
    static const std::vector<std::string> kWaiting{"aten::_local_scalar_dense",
                                                   "aten::item",
                                                   "aten::is_nonzero",
                                                   "aten::equal",
                                                   "aten::allclose",
                                                   "aten::nonzero",
                                                   "aten::masked_select",
                                                   "aten::bincount",
                                                   "aten::_unique2",
                                                   "aten::unique_dim",
                                                   "aten::one_hot",
                                                   "aten::repeat_interleave",
                                                   "aten::unique_consecutive",
                                                   "aten::argwhere"};
    std::vector<std::string> out;
    std::ranges::copy_if(all(), std::back_inserter(out), [&](const std::string& operation) {
      return std::ranges::any_of(
          kWaiting, [&](const auto& name) { return operation.starts_with(name + " "); });
    });
    return out;
  }

 private:
  static std::vector<std::string>& recorded() {
    thread_local std::vector<std::string> all;
    return all;
  }
  static std::unique_ptr<at::ObserverContext> note(const at::RecordFunction& called) {
    std::string text = called.name();
    text += ' ';
    for (const auto& input : called.inputs()) {
      if (!input.isTensor()) continue;
      text += input.toTensor().defined() ? c10::str(input.toTensor().sizes()) : "[]";
    }
    recorded().push_back(std::move(text));
    return nullptr;
  }

  at::CallbackHandle handle_;
};

}  // namespace moe::test
