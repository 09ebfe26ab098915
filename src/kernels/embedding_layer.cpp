#include <algorithm>

#include "kernels/layer_call.h"

namespace moe::kernels {

namespace {

template <class T>
class EmbeddingCall : public LayerCall {
 public:
  EmbeddingCall(at::Tensor ids, at::Tensor tokens, at::Tensor positions,
                std::int64_t first_position, const DropoutDraws& dropout, const LayerRun& run)
      : ids_(ids.contiguous()),
        tokens_(std::move(tokens)),
        positions_(std::move(positions)),
        first_position_(first_position),
        dropout_(dropout_arguments(dropout)),
        rows_(run.rows),
        gradients_(run.gradients),
        memory_(run.workspace, c10::CppTypeToScalarType<T>::value) {}

  Tensors forward(const at::Tensor& /*the token table*/) override {
    const auto c = tokens_.size(1);
    auto out = memory_.result({ids_.size(0), ids_.size(1), c});
    auto* to = out.template mutable_data_ptr<T>();
    const auto* tokens = tokens_.const_data_ptr<T>();
    const auto* positions = values_or_null<T>(positions_);
    for_each_token([&](std::int64_t n, std::int64_t id, std::int64_t position) {
      if (positions == nullptr) return void(std::copy_n(tokens + id * c, c, to + n * c));
      for (std::int64_t i = 0; i < c; ++i)
        to[n * c + i] = tokens[id * c + i] + positions[position * c + i];
    });
    if (dropout_.on) drop(to);
    return {out};
  }

  /// Added in the order of the tokens, so that sums repeat.
  at::Tensor backward(const Tensors& d_outputs) override {
    memory_.require_kept();
    const auto c = tokens_.size(1);
    auto* d_tokens = cleared_gradient(tokens_);
    auto* d_positions = cleared_gradient(positions_);
    const auto* from = d_outputs[0].const_data_ptr<T>();
    if (dropout_.on) {
      auto* dropped = memory_.template values<T>(ids_.numel() * c);
      std::copy_n(from, ids_.numel() * c, dropped);
      drop(dropped);
      from = dropped;
    }
    for_each_token([&](std::int64_t n, std::int64_t id, std::int64_t position) {
      if (d_tokens != nullptr) add(from + n * c, d_tokens + id * c);
      if (d_positions != nullptr) add(from + n * c, d_positions + position * c);
    });
    return {};
  }

 private:
  /// rows (N, C) times the factors of dropout.
  void drop(T* rows) {
    const auto tokens = ids_.numel(), c = tokens_.size(1);
    run_with_scratch<T>(cpu::panels_of(tokens), memory_, c * cpu::kPanel,
                        [&](std::int64_t panel, T* scratch) {
                          const auto first = panel * cpu::kPanel;
                          const auto count = std::min<std::int64_t>(cpu::kPanel, tokens - first);
                          cpu::table<T>().drop_rows(dropout_, token_keys(rows_), first, count, c,
                                                    rows + first * c, scratch);
                        });
  }
  /// Where to add the gradient of a table: 0 if this is its first writer; null if it is frozen.
  T* cleared_gradient(const at::Tensor& table) const {
    const auto slot = gradient_slot<T>(table, gradients_);
    if (slot.to != nullptr && !slot.adds) std::fill_n(slot.to, table.numel(), T{0});
    return slot.to;
  }
  void add(const T* row, T* to) const {
    for (std::int64_t i = 0; i < tokens_.size(1); ++i) to[i] += row[i];
  }

  template <class Use>
  void for_each_token(const Use& use) const {
    const auto* ids = ids_.const_data_ptr<std::int64_t>();
    const auto time = ids_.size(1);
    for (std::int64_t n = 0; n < ids_.numel(); ++n) use(n, ids[n], first_position_ + n % time);
  }

  at::Tensor ids_, tokens_, positions_;
  std::int64_t first_position_;
  cpu::Dropout dropout_;
  RowIds rows_;
  GradientLedger* gradients_;
  Memory memory_;
};

}  // namespace

at::Tensor embedding_layer(const at::Tensor& ids, const at::Tensor& tokens,
                           const at::Tensor& positions, std::int64_t first_position,
                           const DropoutDraws& dropout, const LayerRun& run) {
  const auto source = gradient_source({tokens, positions});
  const auto call = make_call<EmbeddingCall>(tokens.scalar_type(), ids, tokens, positions,
                                             first_position, dropout, run);
  return run_layer(tokens, source, call)[0];
}

}  // namespace moe::kernels
