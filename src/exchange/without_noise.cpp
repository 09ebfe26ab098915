#include "exchange/without_noise.h"

#include <vector>

namespace moe {

ModelConfig without_noise(ModelConfig model) {
  if (model.moe.router != RouterKind::noisy_topk) return model;
  model.moe.router = RouterKind::topk;
  model.moe.noise_in_eval = false;
  std::erase_if(model.moe.balance, [](const BalanceConfig& element) {
    return element.kind == BalanceKind::importance_load;  // it estimates loads by the noise
  });
  return model;
}

}  // namespace moe
