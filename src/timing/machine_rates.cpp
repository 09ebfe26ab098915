#include "moe/timing/machine_rates.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "moe/base/system.h"

namespace moe {

namespace {

constexpr std::int64_t kSide = 1024;          // of the square factors
constexpr std::int64_t kCopied = 1LL << 26U;  // floats: 256 MiB
constexpr int kProducts = 20, kCopies = 5;    // repeats, of which the fastest counts

/// Seconds of the fastest of `repeats` runs; reading `result` waits for the device.
template <class Work>
double fastest(int repeats, const at::Tensor& result, const Work& work) {
  auto best = std::numeric_limits<double>::infinity();
  for (int i = 0; i <= repeats; ++i) {  // the first warms up
    const auto begin = monotonic_seconds();
    work();
    result.flatten()[0].item<float>();
    if (i > 0) best = std::min(best, monotonic_seconds() - begin);
  }
  return best;
}

}  // namespace

MachineRates measure_machine(at::Device device) {
  const at::NoGradGuard no_grad;
  const auto options = at::TensorOptions(device).dtype(at::kFloat);
  const auto a = at::ones({kSide, kSide}, options), b = at::ones({kSide, kSide}, options);
  auto product = at::empty({kSide, kSide}, options);
  const auto product_seconds = fastest(kProducts, product, [&] { at::mm_out(product, a, b); });
  const auto from = at::zeros({kCopied}, options);
  const auto to = at::zeros({kCopied}, options);
  const auto copy_seconds = fastest(kCopies, to, [&] { to.copy_(from); });
  return {2.0 * kSide * kSide * kSide / product_seconds,
          2.0 * kCopied * sizeof(float) / copy_seconds};
}

}  // namespace moe
