#include "moe/model/upcycle.h"

#include <ATen/core/grad_mode.h>

#include <map>
#include <optional>
#include <stdexcept>

#include "moe/base/text.h"

namespace moe {

namespace {

/// What the gates of every token sum to; nullopt where that depends on the token.
std::optional<double> gate_sum(const FeedForwardSpec& spec) {
  if (!spec.has_router()) return 1;
  switch (spec.gate) {
    case Gate::topk_softmax:
      return 1;
    case Gate::softmax_topk:
      return spec.top_k == spec.experts ? std::optional(1.0) : std::nullopt;
    case Gate::sigmoid:
      return spec.gate_norm ? std::optional(spec.gate_scale) : std::nullopt;
  }
  throw std::logic_error("no such gate");
}

/// Whether there is one expert, whose answer is all that a layer adds.
bool is_one_expert(const FeedForwardSpec& spec) {
  return spec.all_experts() == 1 && !spec.shared_gate;
}

/// "blocks.3.smoe.experts.5.net.0.weight" as the same of the only expert there was.
std::string name_in_dense(const std::string& name, const std::string& only) {
  constexpr std::string_view kExperts = ".smoe.experts.";
  const auto at = name.find(kExperts);
  if (at == std::string::npos) return name;
  const auto net = name.find('.', at + kExperts.size());
  return cat(name.substr(0, at), ".smoe.", only, name.substr(net));
}

bool is_of_router(const std::string& name) { return name.find(".smoe.router.") != name.npos; }

}  // namespace

std::string upcycling_problem(const ModelSpec& dense, const ModelSpec& sparse) {
  for (std::size_t layer = 0; layer < dense.layers.size(); ++layer) {
    const auto& one = dense.layers[layer].feed_forward;
    const auto& many = sparse.layers[layer].feed_forward;
    if (!is_one_expert(one))
      return cat("layer ", layer,
                 " is not one plain MLP; give a checkpoint of a model with model.moe.num_experts 0 "
                 "and model.moe.shared_experts 1, or with model.moe.num_experts 1");
    if (!many.has_router() || many.shared > 0)
      return "model.moe: each block gets a mixture of copies and nothing beside it; remove "
             "model.moe.shared_experts and model.moe.dense_layers";
    const auto before = gate_sum(one), after = gate_sum(many);
    if (!before)
      return "model.moe.gate: the weight of its one expert depends on the token, which copies of "
             "it cannot have; give a checkpoint whose gate is normalised";
    if (!after || *after != *before)
      return cat("model.moe.gate: the weights of the copies must sum to ", *before,
                 " for each token, or the model would begin as another; set model.moe.gate to "
                 "\"topk_softmax\"",
                 *before == 1 ? "" : ", model.moe.gate_scale as it was",
                 ", or to \"sigmoid\" with model.moe.gate_norm true");
  }
  return "";
}

void upcycle(const FlatParameters& dense, FlatParameters& sparse) {
  const at::NoGradGuard no_grad;
  std::map<std::string, const PublishedTensor*> known;
  for (const auto& tensor : dense.layout()) known[tensor.name] = &tensor;
  const auto find = [&](const std::string& name) {
    for (const auto* only : {"experts.0", "shared.0"})
      if (const auto at = known.find(name_in_dense(name, only)); at != known.end())
        return at->second;
    throw std::logic_error(name + ": the dense model has no such tensor");
  };
  for (const auto& tensor : sparse.layout()) {
    if (is_of_router(tensor.name)) continue;
    const auto& from = *find(tensor.name);
    if (from.shape != tensor.shape)
      throw std::logic_error(tensor.name + ": is of another shape in the dense model");
    FlatParameters::view(sparse.values(), tensor).copy_(FlatParameters::view(dense.values(), from));
  }
}

}  // namespace moe
