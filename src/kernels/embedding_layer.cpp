#include <algorithm>

#include "kernels/layer_call.h"

namespace moe::kernels {

namespace {

/// For autograd a function of the token table, whose gradient it writes by itself all the same.
template <class T>
class EmbeddingCall : public LayerCall {
 public:
  EmbeddingCall(at::Tensor ids, at::Tensor tokens, at::Tensor positions,
                std::int64_t first_position, const LayerRun& run)
      : ids_(ids.contiguous()),
        tokens_(std::move(tokens)),
        positions_(std::move(positions)),
        first_position_(first_position),
        fresh_(run.fresh_gradients),
        memory_(run.workspace, c10::CppTypeToScalarType<T>::value) {}

  at::Tensor forward(const at::Tensor& /*the token table*/) override {
    const auto c = tokens_.size(1);
    auto out = memory_.result({ids_.size(0), ids_.size(1), c});
    auto* to = out.template mutable_data_ptr<T>();
    const auto* tokens = tokens_.const_data_ptr<T>();
    const auto* positions = positions_.const_data_ptr<T>();
    for_each_token([&](std::int64_t n, std::int64_t id, std::int64_t position) {
      for (std::int64_t i = 0; i < c; ++i)
        to[n * c + i] = tokens[id * c + i] + positions[position * c + i];
    });
    return out;
  }

  /// Added in the order of the tokens, so that sums repeat.
  at::Tensor backward(const at::Tensor& d_out) override {
    memory_.require_kept();
    const auto c = tokens_.size(1);
    auto* d_tokens = gradient_of<T>(tokens_);
    auto* d_positions = gradient_of<T>(positions_);
    if (fresh_) {
      std::fill_n(d_tokens, tokens_.numel(), T{0});
      std::fill_n(d_positions, positions_.numel(), T{0});
    }
    const auto* from = d_out.const_data_ptr<T>();
    for_each_token([&](std::int64_t n, std::int64_t id, std::int64_t position) {
      for (std::int64_t i = 0; i < c; ++i) {
        d_tokens[id * c + i] += from[n * c + i];
        d_positions[position * c + i] += from[n * c + i];
      }
    });
    return {};
  }

 private:
  template <class Use>
  void for_each_token(const Use& use) const {
    const auto* ids = ids_.const_data_ptr<std::int64_t>();
    const auto time = ids_.size(1);
    for (std::int64_t n = 0; n < ids_.numel(); ++n) use(n, ids[n], first_position_ + n % time);
  }

  at::Tensor ids_, tokens_, positions_;
  std::int64_t first_position_;
  bool fresh_;
  Memory memory_;
};

}  // namespace

at::Tensor embedding_layer(const at::Tensor& ids, const at::Tensor& tokens,
                           const at::Tensor& positions, std::int64_t first_position,
                           const LayerRun& run) {
  if (tokens.scalar_type() == at::kDouble)
    return run_layer(tokens, c10::make_intrusive<EmbeddingCall<double>>(ids, tokens, positions,
                                                                        first_position, run));
  return run_layer(tokens, c10::make_intrusive<EmbeddingCall<float>>(ids, tokens, positions,
                                                                     first_position, run));
}

}  // namespace moe::kernels
