#include "moe/model/context.h"

#include <ATen/ops/arange.h>

namespace moe {

ForwardContext make_context(std::int64_t batch, std::int64_t time, bool training, std::uint64_t key,
                            at::Device device, std::int64_t first_sequence,
                            std::int64_t first_position) {
  ForwardContext context;
  context.training = training;
  context.key = key;
  const auto options = at::TensorOptions(device).dtype(at::kLong);
  context.rows.sequence =
      at::arange(first_sequence, first_sequence + batch, options).repeat_interleave(time);
  context.rows.position =
      at::arange(first_position, first_position + time, options).repeat({batch});
  return context;
}

}  // namespace moe
