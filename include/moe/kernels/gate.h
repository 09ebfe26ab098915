#pragma once

namespace moe::kernels {

/// How gates come from logits: softmax over the chosen; softmax over all, then the chosen; sigmoids
/// of the chosen over their sum.
enum class GateKind { topk_softmax, softmax_topk, sigmoid };

}  // namespace moe::kernels
