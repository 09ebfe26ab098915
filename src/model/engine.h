#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "moe/model/language_model.h"

namespace moe {

/// How the parts of a model are computed: one interface, three ways that agree to rounding
/// (docs/adr/0043). It has no state; the parameters are the modules'.
class Engine {
 public:
  virtual ~Engine() = default;

  /// (B, T, C): symbols and positions from first_position on. By default as the model reads.
  virtual at::Tensor embed(SparseMoELanguageModelImpl& model, const at::Tensor& ids,
                           std::int64_t first_position, const ForwardContext& context) const {
    return model.embed(ids, first_position, context);
  }
  /// What blocks read past those before them (SparseMoELanguageModelImpl::skips), and what one of
  /// them takes in of it. By default as the model reads.
  virtual SkipSources skips(SparseMoELanguageModelImpl& model, const at::Tensor& x,
                            const at::Tensor& ids, const at::Tensor& before,
                            const ForwardContext& context) const {
    return model.skips(x, ids, before, context);
  }
  virtual at::Tensor enter(BlockImpl& block, const at::Tensor& x, const SkipSources& skips,
                           const ForwardContext& /*context*/) const {
    return block.enter(x, skips);
  }
  /// x + attention(norm(x)). `cache` may be null. The first block's values join `skips`, if others
  /// read them.
  virtual at::Tensor attend(BlockImpl& block, const at::Tensor& x, const ForwardContext& context,
                            LayerCache* cache, SkipSources& skips) const = 0;
  /// MoeOutput::y is x + mixture(norm(x)). `cache` may be null.
  virtual MoeOutput mix(BlockImpl& block, const at::Tensor& x, const ForwardContext& context,
                        LayerCache* cache) const = 0;
  /// logits of norm(x), and the loss of targets if they are defined. By default as the model reads.
  virtual LmOutput predict(SparseMoELanguageModelImpl& model, const at::Tensor& x,
                           const at::Tensor& targets, const ForwardContext& /*context*/) const {
    return model.predict(x, targets);
  }

  /// What one pass takes of the context's workspace at once [bytes], where that is known: forward
  /// and backward in training, else forward without logits. 0: it is taken as it comes.
  virtual std::int64_t planned_memory(const ModelSpec& /*spec*/, std::int64_t /*windows*/,
                                      std::int64_t /*time*/, bool /*training*/) const {
    return 0;
  }
  /// Whether backward itself writes the parameters' gradients (ForwardContext::gradients);
  /// otherwise autograd adds them.
  virtual bool writes_gradients() const { return false; }
  /// Whether a cache that holds positions already takes one more at a time only.
  virtual bool extends_one_by_one() const { return false; }
};

/// The modules as they read, composed under autograd: any device.
const Engine& reference_engine();
/// Heads and experts by whole-tensor operations: any device, CUDA's own.
const Engine& stacked_engine();
/// Whole layers as kernels, backward written out: the CPU's own.
const Engine& fused_engine();

/// The one of `kind` for parameters on `device`.
const Engine& engine_for(EngineKind kind, at::Device device);

}  // namespace moe
