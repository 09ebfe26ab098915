#include "moe/kernels/memory_plan.h"

#include "kernels/layer_memory.h"

namespace moe::kernels {

namespace {

void count_forward(const ModelSpec& spec, const PassShape& pass, Memory& memory) {
  // Ids, targets and the rows' names.
  for (int i = 0; i < 4; ++i) memory.values<std::int64_t>(pass.tokens());
  memory.values<float>(pass.tokens() * pass.width);  // the embedding
  count_skips(spec, pass, memory);
  for (std::size_t layer = 0; layer < spec.layers.size(); ++layer) {
    count_entry(spec, pass, static_cast<std::int64_t>(layer), Direction::forward, memory);
    count_attention(pass, spec.layers[layer].attention, Direction::forward, memory);
    count_mixture(pass, spec.layers[layer].feed_forward, Direction::forward, memory);
  }
  count_vocabulary(pass, spec.vocab, Direction::forward, memory);
  const auto layers = static_cast<std::int64_t>(spec.layers.size());
  memory.values<std::int64_t>(layers * spec.most_experts());  // their load
}

}  // namespace

std::int64_t planned_training_memory(const ModelSpec& spec, std::int64_t windows,
                                     std::int64_t time) {
  auto workspace = Workspace::counting();
  Memory memory(&workspace, at::kFloat);
  const PassShape pass{windows, time, spec.width, /*keeps=*/true};
  count_forward(spec, pass, memory);
  memory.values<float>(1);  // the gradient of the loss
  count_vocabulary(pass, spec.vocab, Direction::backward, memory);
  for (auto layer = spec.layers.size(); layer-- > 0;) {
    count_mixture(pass, spec.layers[layer].feed_forward, Direction::backward, memory);
    count_attention(pass, spec.layers[layer].attention, Direction::backward, memory);
    count_entry(spec, pass, static_cast<std::int64_t>(layer), Direction::backward, memory);
  }
  if (spec.dropout.embedding > 0) memory.values<float>(pass.tokens() * pass.width);
  return workspace.peak();
}

std::int64_t planned_evaluation_memory(const ModelSpec& spec, std::int64_t windows,
                                       std::int64_t time) {
  auto workspace = Workspace::counting();
  Memory memory(&workspace, at::kFloat);
  count_forward(spec, {windows, time, spec.width, /*keeps=*/false}, memory);
  return workspace.peak();
}

}  // namespace moe::kernels
