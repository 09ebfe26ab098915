#include "moe/kernels/precision.h"

#include "moe/base/error.h"
#include "moe/base/text.h"
#include "moe/model/build.h"
#include "moe/train/trainer.h"

namespace moe {

void check_precision(const RunConfig& config) {
  if (config.train.precision == Precision::float32) return;
  constexpr auto kRemedy = "or set train.precision to \"float32\"";
  // No rule of the config: a checkpoint of such a run may be evaluated by either kernels.
  if (config.model.kernels == Kernels::reference)
    throw ConfigError(
        cat("train.precision: bfloat16 is of the fast kernels, and model.kernels is "
            "\"reference\"; set that to \"fast\", ",
            kRemedy));
  if (const auto device = choose_device(config.device); !device.is_cpu())
    throw ResourceError(cat("train.precision: bfloat16 is for CPUs so far, and the device is ",
                            device.str(), "; give --device cpu, ", kRemedy));
  if (!kernels::has_bfloat16())
    throw ResourceError(
        cat("train.precision: bfloat16 needs a CPU with avx512_bf16, and this one "
            "has ",
            kernels::instruction_set(), " at most; train on another one, ", kRemedy));
}

}  // namespace moe
