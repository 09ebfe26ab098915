#include "moe/kernels/exponentials.h"

#include "kernels/cpu/table.h"

namespace moe::kernels {

void exponentials(std::span<float> values) {
  cpu::table<float>().exponentials(values.data(), static_cast<std::int64_t>(values.size()));
}

}  // namespace moe::kernels
