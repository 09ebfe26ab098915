#pragma once

#include <ATen/Context.h>
#include <c10/core/Device.h>

#include <cstdlib>

namespace moe::test {

/// Where the tests compute: $MAKEMOE_TEST_DEVICE ("cpu", "cuda" or "cuda:N"), the CPU without it.
/// On CUDA with the determinism that the program sets before CUDA starts.
inline at::Device test_device() {
  static const auto chosen = [] {
    const auto* name = std::getenv("MAKEMOE_TEST_DEVICE");
    at::Device device(name == nullptr || *name == '\0' ? "cpu" : name);
    if (!device.is_cuda()) return device;
    setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
    at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);
    if (!device.has_index()) device.set_index(0);
    return device;
  }();
  return chosen;
}

}  // namespace moe::test
