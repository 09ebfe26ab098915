#pragma once

#include <torch/nn/module.h>
#include <torch/nn/modules/container/modulelist.h>
#include <torch/nn/modules/embedding.h>

#include <cstdint>
#include <vector>

#include "moe/config/config.h"
#include "moe/model/attention.h"
#include "moe/model/context.h"
#include "moe/model/lm_head.h"
#include "moe/model/moe.h"
#include "moe/model/norm.h"
#include "moe/model/short_conv.h"
#include "moe/model/skips.h"

namespace moe {

// Shapes: B sequences, T positions, N = B*T, C width, E experts, V vocabulary, L layers.

class Engine;

/// Which of the engines computes a model: the fastest of its device, or one by name.
enum class EngineKind { fast, reference, stacked };
EngineKind engine_kind(Kernels kernels);

/// A target that does not count.
inline constexpr std::int64_t kNoTarget = -1;

/// What a forward yields.
struct LmOutput {
  at::Tensor logits;  // (B, T, V); may be undefined beside a loss (ForwardContext::keeps_logits)
  at::Tensor loss;    // () mean cross-entropy [nats/token]; undefined without targets
  /// (L, E) int64: tokens that each expert served; 0 in a layer without a router.
  at::Tensor expert_load;
  std::vector<Routing> routing = {};         // of each layer, if the context keeps it
  std::vector<kernels::SideLoss> side = {};  // of each layer, in training
};

/// () what training minimises: the cross-entropy and the side losses of all layers.
at::Tensor total_loss(const LmOutput& out);
/// Backward of that, times `factor` (). Takes no memory of its own, as the total would.
void backward(const LmOutput& out, const at::Tensor& factor);

/// Communication, then computation: x += sa(ln1(x)); x += smoe(ln2(x)). A convolution may follow
/// each norm; before all, what blocks read past those before them may join the stream.
class BlockImpl : public torch::nn::Module {
 public:
  BlockImpl(const ModelSpec& spec, std::int64_t layer);
  /// x (B, T, C) -> (B, T, C). `cache` may be null.
  at::Tensor attend(const at::Tensor& x, const ForwardContext& context, LayerCache* cache,
                    SkipSources& skips);
  MoeOutput mix(const at::Tensor& x, const ForwardContext& context, LayerCache* cache);
  /// resid_lambda * x + x0_lambda * sources.stream + ngram_lambda * sources.ngrams, as far as there
  /// are such.
  at::Tensor enter(const at::Tensor& x, const SkipSources& sources);
  /// What attention, and the mixture, reads of x.
  at::Tensor attention_input(const at::Tensor& x, LayerCache* cache = nullptr);
  at::Tensor mixture_input(const at::Tensor& x, LayerCache* cache = nullptr);

  MultiHeadAttentionImpl& sa() { return *sa_; }
  SparseMoEImpl& smoe() { return *smoe_; }
  const MultiHeadAttentionImpl& sa() const { return *sa_; }
  const SparseMoEImpl& smoe() const { return *smoe_; }
  Norm ln1() const { return ln1_; }
  Norm ln2() const { return ln2_; }
  /// (C, k); undefined for none.
  at::Tensor sa_conv() const { return weight_of(sa_conv_); }
  at::Tensor smoe_conv() const { return weight_of(smoe_conv_); }
  kernels::SkipWeights skip_weights() const {
    return {weight_of(resid_lambda_), weight_of(x0_lambda_), weight_of(ngram_lambda_), layer_ == 0};
  }
  std::int64_t layer() const { return layer_; }
  const DropoutSpec& dropout() const { return dropout_; }

 private:
  template <class Module>
  static at::Tensor weight_of(const Module& module) {
    return module.is_empty() ? at::Tensor() : module->weight();
  }

  std::int64_t layer_;
  DropoutSpec dropout_;
  MultiHeadAttention sa_;
  SparseMoE smoe_;
  Norm ln1_, ln2_;
  ShortConv sa_conv_{nullptr}, smoe_conv_{nullptr};
  Lambda resid_lambda_{nullptr}, x0_lambda_{nullptr}, ngram_lambda_{nullptr};
};
TORCH_MODULE(Block);

/// The published model: token and position embedding, L blocks, final norm, head.
class SparseMoELanguageModelImpl : public torch::nn::Module {
 public:
  SparseMoELanguageModelImpl(const ModelSpec& spec, EngineKind engine);
  SparseMoELanguageModelImpl(const ModelConfig& config, const Vocabulary& vocabulary);

  /// From now on by another engine, or the fastest again.
  void compute_by(EngineKind engine) { engine_ = engine; }

  /// ids (B, T) int64 with T <= context and every id in [0, V) (the caller's promise); targets
  /// the same shape, where kNoTarget is allowed, or undefined.
  LmOutput forward(const at::Tensor& ids, const at::Tensor& targets, const ForwardContext& context);

  /// Logits (B, V) of the last position after `ids` (B, T) follow what `cache` holds; the cache
  /// grows by T. It begins with no more than the context. Beyond it, a model whose spec slides()
  /// forgets the oldest position for each new one; what layers above the first remember of it
  /// stays, so that logits are not quite those of the last positions alone. Others refuse.
  /// Evaluation mode only.
  at::Tensor extend(const at::Tensor& ids, KeyValueCache& cache, const ForwardContext& context);
  /// The same without a cache: logits (B, V) of the last position of `ids`.
  at::Tensor last_logits(const at::Tensor& ids, const ForwardContext& context);

  /// The parts of a forward, as the model's engine computes them, for what is to be looked at
  /// between them: one after another they are `forward`, bit for bit. x (B, T, C). `enter` finds
  /// what blocks read past those before them, which `attend` takes in; that of the first block adds
  /// its values.
  at::Tensor enter(const at::Tensor& ids, const ForwardContext& context, SkipSources& skips);
  at::Tensor attend(std::int64_t layer, const at::Tensor& x, const ForwardContext& context,
                    SkipSources& skips);
  MoeOutput mix(std::int64_t layer, const at::Tensor& x, const ForwardContext& context);
  LmOutput finish(const at::Tensor& x, const at::Tensor& targets, const ForwardContext& context);
  BlockImpl& block(std::int64_t layer);

  /// What one pass over B windows of T takes of the context's workspace at once [bytes]; 0: not
  /// known.
  std::int64_t planned_memory(std::int64_t windows, std::int64_t time, bool training) const;

  /// What comes before and after the blocks, as it reads.
  at::Tensor embed(const at::Tensor& ids, std::int64_t first_position,
                   const ForwardContext& context);
  LmOutput predict(const at::Tensor& x, const at::Tensor& targets);
  /// What blocks read past those before them, of x that enters the first; ids (B, T) follow
  /// `before` (B, reach), or begin a window where that is undefined.
  SkipSources skips(const at::Tensor& x, const at::Tensor& ids, const at::Tensor& before,
                    const ForwardContext& context);

  const ModelSpec& spec() const { return spec_; }
  std::int64_t vocab_size() const { return spec_.vocab; }
  torch::nn::Embedding token_table() const { return token_embedding_table_; }
  /// (context, C); undefined for none.
  at::Tensor position_table() const {
    return position_embedding_table_ ? position_embedding_table_->weight : at::Tensor();
  }
  /// (E) of one layer's router; undefined without loss-free balancing.
  at::Tensor balance_bias(std::int64_t layer) { return block(layer).smoe().balance_bias(); }
  /// Without tables where there are none.
  kernels::NgramTables ngram_tables() const {
    return ngram_.is_empty() ? kernels::NgramTables{} : ngram_->tables();
  }
  Norm ln_f() const { return ln_f_; }
  LmHead lm_head() const { return lm_head_; }

 private:
  const Engine& engine() const;
  /// The symbols before `ids`, which join those that the cache holds; undefined: none.
  at::Tensor symbols_before(const at::Tensor& ids, KeyValueCache* cache) const;
  at::Tensor logits_of_last(const at::Tensor& ids, KeyValueCache* cache,
                            const ForwardContext& context);

  ModelSpec spec_;
  EngineKind engine_;
  torch::nn::Embedding token_embedding_table_, position_embedding_table_{nullptr};
  NgramTables ngram_{nullptr};
  torch::nn::ModuleList blocks_;
  Norm ln_f_;
  LmHead lm_head_;
};
TORCH_MODULE(SparseMoELanguageModel);

}  // namespace moe
