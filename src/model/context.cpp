#include "moe/model/context.h"

namespace moe {

ForwardContext make_context(std::int64_t batch, std::int64_t time, bool training, std::uint64_t key,
                            std::int64_t first_sequence, std::int64_t first_position,
                            kernels::Workspace* workspace) {
  ForwardContext context;
  context.training = training;
  context.key = key;
  context.workspace = workspace;
  // Filled here rather than by tensor operations: decoding makes one for each token.
  const auto sequence = kernels::take_from(workspace, {batch * time}, at::kLong);
  const auto position = kernels::take_from(workspace, {batch * time}, at::kLong);
  auto* sequences = sequence.mutable_data_ptr<std::int64_t>();
  auto* positions = position.mutable_data_ptr<std::int64_t>();
  for (std::int64_t n = 0; n < batch * time; ++n) {
    sequences[n] = first_sequence + n / time;
    positions[n] = first_position + n % time;
  }
  context.rows = {sequence, position};
  return context;
}

ForwardContext at_positions(const ForwardContext& context, std::int64_t batch, std::int64_t time,
                            std::int64_t first, std::int64_t count) {
  const auto columns = [&](const at::Tensor& rows) {
    return rows.view({batch, time}).narrow(1, first, count).contiguous().view({-1});
  };
  auto out = context;
  out.rows = {columns(context.rows.sequence), columns(context.rows.position)};
  if (context.symbols.defined()) out.symbols = columns(context.symbols);
  if (context.noise.defined())
    out.noise = context.noise.unflatten(1, {batch, time}).narrow(2, first, count).flatten(1, 2);
  return out;
}

}  // namespace moe
