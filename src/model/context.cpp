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

ForwardContext at_position(const ForwardContext& context, std::int64_t batch, std::int64_t time,
                           std::int64_t t) {
  const auto column = [&](const at::Tensor& rows) {
    return rows.view({batch, time}).select(1, t).contiguous();
  };
  auto out = context;
  out.rows = {column(context.rows.sequence), column(context.rows.position)};
  if (context.symbols.defined()) out.symbols = column(context.symbols);
  if (context.noise.defined())
    out.noise = context.noise.view({context.noise.size(0), batch, time, -1}).select(2, t);
  return out;
}

}  // namespace moe
