#include "model/engine.h"

#include <ATen/ATen.h>

namespace moe {

namespace {

class ReferenceEngine final : public Engine {
 public:
  at::Tensor attend(BlockImpl& block, const at::Tensor& x, const ForwardContext& context,
                    LayerCache* cache, SkipSources& skips) const override {
    return block.attend(x, context, cache, skips);
  }
  MoeOutput mix(BlockImpl& block, const at::Tensor& x, const ForwardContext& context,
                LayerCache* cache) const override {
    return block.mix(x, context, cache);
  }
};

}  // namespace

const Engine& reference_engine() {
  static const ReferenceEngine engine;
  return engine;
}

const Engine& engine_for(EngineKind kind, at::Device device) {
  switch (kind) {
    case EngineKind::reference:
      return reference_engine();
    case EngineKind::stacked:
      return stacked_engine();
    case EngineKind::fast:
      return device.is_cpu() ? fused_engine() : stacked_engine();
  }
  TORCH_CHECK(false, "no such engine");
}

}  // namespace moe
