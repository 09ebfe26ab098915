#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "moe/config/balance.h"
#include "moe/config/field.h"
#include "moe/config/ngram.h"
#include "moe/config/optim.h"
#include "moe/config/text_names.h"
#include "moe/config/tracking.h"
#include "moe/config/train.h"
#include "moe/spec/model_spec.h"

namespace moe {

// Every key of a config file: a member with its default and one row. Names are makeMoE's own.

enum class DataOrder { random, epoch, sequential };
enum class AttentionScale { head_size, n_embed };
enum class Kernels { fast, reference };
enum class EvalMode { full, random };

using Names3 = std::array<std::string_view, 3>;
using Names2 = std::array<std::string_view, 2>;
template <>
struct EnumNames<DataOrder> {
  static constexpr Names3 names{"random", "epoch", "sequential"};
};
template <>
struct EnumNames<AttentionScale> {
  static constexpr Names2 names{"head_size", "n_embed"};
};
template <>
struct EnumNames<Kernels> {
  static constexpr Names2 names{"fast", "reference"};
};
template <>
struct EnumNames<EvalMode> {
  static constexpr Names2 names{"full", "random"};
};

/// Where the text comes from and in which order its windows are learned.
struct DataConfig {
  TextNames path, val_path;
  std::string cache;
  double train_fraction = 0.9;
  std::string tokenizer = "char";
  std::int64_t vocab_size = 4096;
  DataOrder order = DataOrder::random;

  static constexpr auto fields() {
    using C = DataConfig;
    return std::tuple{
        Field{
            "path", &C::path,
            "UTF-8 text to learn from: a file, a folder (all *.txt below it), a pattern, or a list "
            "of these; --data sets it",
            Bounds{}, OnResume::may_change},
        Field{"val_path", &C::val_path,
              "text to validate on, named likewise; empty: the rest of data.path after "
              "data.train_fraction",
              Bounds{}, OnResume::may_change},
        Field{
            "cache", &C::cache,
            "folder for the ids of texts that are too large to be held; empty: .tokens beside the "
            "run",
            Bounds{}, OnResume::may_change},
        Field{"train_fraction", &C::train_fraction,
              "share of the text to train on, from its start; the rest is for validation",
              between(1e-6, 1 - 1e-6)},
        Field{"tokenizer", &C::tokenizer,
              "\"char\": each Unicode code point is a symbol; \"bpe\": subwords, learned from the "
              "text to train on when the run begins; or the path of a tokenizer.json"},
        Field{"vocab_size", &C::vocab_size,
              "tokens of \"bpe\", <|endoftext|> and the 256 bytes among them",
              between(257, 1 << 20)},
        Field{"order", &C::order,
              "windows of the text: drawn at random, shuffled once an epoch, or in order"}};
  }
};
static_assert(table_is_complete<DataConfig>);

/// Shape of the mixture layers.
struct MoeConfig {
  std::int64_t num_experts = 8, top_k = 2;
  RouterKind router = RouterKind::noisy_topk;
  Gate gate = Gate::topk_softmax;
  Activation activation = Activation::relu;
  std::optional<std::int64_t> expert_width;
  bool noise_in_eval = false;
  std::optional<double> capacity_factor;
  bool gate_norm = true;
  double gate_scale = 1;
  std::vector<BalanceConfig> balance;
  double z_loss = 0;
  std::optional<double> router_init_std;
  double jitter = 0;
  std::vector<std::int64_t> hash_layers;
  std::int64_t shared_experts = 0;
  bool shared_gate = false;
  std::vector<std::int64_t> dense_layers;
  std::optional<std::int64_t> dense_width;

  static constexpr auto fields() {
    using C = MoeConfig;
    return std::tuple{
        Field{"num_experts", &C::num_experts,
              "experts in each block that a router chooses from; 0: none, the shared ones alone",
              between(0, 1024)},
        Field{"top_k", &C::top_k,
              "experts for each token; at most num_experts, and not read if that is 0",
              between(1, 1024)},
        Field{"router", &C::router,
              "how experts are chosen; noisy_topk adds learned noise in training, hash takes those "
              "of the symbol's hash"},
        Field{"gate", &C::gate,
              "weights of the chosen experts: softmax over them, softmax over all, or sigmoid"},
        Field{"activation", &C::activation,
              "of the experts' hidden layers; gelu is exact, swiglu has a gate beside each value"},
        Field{"expert_width", &C::expert_width,
              "width of an expert's hidden layer; null: 4 times n_embed, with swiglu 8/3 times, "
              "rounded down to a multiple of 16",
              between(1, 1 << 20)},
        Field{"noise_in_eval", &C::noise_in_eval,
              "router noise in evaluation and generation too, as in the published run"},
        Field{
            "capacity_factor", &C::capacity_factor,
            "in training, an expert serves at most this many times the even share; null: no limit",
            between(1e-3, 1024)},
        Field{"gate_norm", &C::gate_norm,
              "sigmoid gates: whether those of the chosen are divided by their sum"},
        Field{"gate_scale", &C::gate_scale, "sigmoid gates: they are multiplied by this",
              between(1e-3, 1e3)},
        Field{"balance", &C::balance,
              "what keeps the loads of experts even; one object, or a list of them"},
        Field{"z_loss", &C::z_loss,
              "weight of the router's z-loss, which keeps its logits small; 0: none",
              between(0, 1e6)},
        Field{
            "router_init_std", &C::router_init_std,
            "the router's weights are drawn with this standard deviation; null: as model.init says",
            between(0, 100)},
        Field{"jitter", &C::jitter,
              "in training, the router alone sees its input times a draw from 1 - jitter to 1 + "
              "jitter for each value",
              between(0, 0.99)},
        Field{"hash_layers", &C::hash_layers,
              "layers, from 0, whose experts are those of the symbol's hash, whatever the router",
              between(0, 511)},
        Field{"shared_experts", &C::shared_experts,
              "experts that every token has besides the chosen ones, of their width and activation",
              between(0, 64)},
        Field{"shared_gate", &C::shared_gate,
              "whether a sigmoid of each token's own weighs what the shared experts answer"},
        Field{"dense_layers", &C::dense_layers,
              "layers, from 0, with a plain MLP in the place of the mixture", between(0, 511)},
        Field{"dense_width", &C::dense_width,
              "width of the hidden layer of these MLPs; null: that of all experts of a token",
              between(1, 1 << 20)}};
  }
};
static_assert(table_is_complete<MoeConfig>);

/// Dropout place by place.
struct DropoutsConfig {
  std::optional<double> embedding, attention, residual, expert;

  static constexpr auto fields() {
    using C = DropoutsConfig;
    return std::tuple{Field{"embedding", &C::embedding,
                            "of what enters the first block; null: none", between(0, 0.99)},
                      Field{"attention", &C::attention, "of attention weights; null: model.dropout",
                            between(0, 0.99)},
                      Field{"residual", &C::residual,
                            "of what attention adds to the residual stream; null: model.dropout",
                            between(0, 0.99)},
                      Field{"expert", &C::expert, "of each expert's answer; null: model.dropout",
                            between(0, 0.99)}};
  }
};
static_assert(table_is_complete<DropoutsConfig>);

/// Whether loss-free balancing gives routers a bias.
inline bool has_balance_bias(const MoeConfig& moe) {
  for (const auto& element : moe.balance)
    if (element.kind == BalanceKind::loss_free) return true;
  return false;
}

/// Shape of the network.
struct ModelConfig {
  std::int64_t n_embed = 128, n_head = 8, n_layer = 8, block_size = 32;
  double dropout = 0.1;
  DropoutsConfig dropouts;
  Init init = Init::standard;
  std::optional<double> init_embedding_std;
  bool init_zero_outputs = false;
  AttentionScale attention_scale = AttentionScale::head_size;
  NormKind norm = NormKind::layer;
  Positions positions = Positions::learned;
  double rotary_base = 10000;
  QkNorm qk_norm = QkNorm::none;
  double qk_gain = 1;
  std::int64_t short_conv = 0;
  bool x0_shortcut = false;
  NgramConfig ngram;
  bool value_residual = false;
  bool bias = true, tied = false;
  Kernels kernels = Kernels::fast;
  MoeConfig moe;

  static constexpr auto fields() {
    using C = ModelConfig;
    return std::tuple{
        Field{"n_embed", &C::n_embed, "width of the embeddings and of the residual stream",
              between(1, 16384)},
        Field{"n_head", &C::n_head, "attention heads; divides n_embed", between(1, 1024)},
        Field{"n_layer", &C::n_layer, "transformer blocks", between(1, 512)},
        Field{"block_size", &C::block_size, "context length [tokens]", between(1, 65536)},
        Field{"dropout", &C::dropout, "probability of dropping a value, in training",
              between(0, 0.99)},
        Field{"dropouts", &C::dropouts, "dropout place by place"},
        Field{"init", &C::init, "how Linear weights are drawn; \"default\" is PyTorch's way"},
        Field{"init_embedding_std", &C::init_embedding_std,
              "standard deviation of the tables' values; null: as init says", between(1e-6, 100)},
        Field{"init_zero_outputs", &C::init_zero_outputs,
              "whether attention's projections and experts' last Linears start as 0"},
        Field{"attention_scale", &C::attention_scale,
              "attention scores are divided by the root of this; the published run has n_embed"},
        Field{"norm", &C::norm, "layer norm, or RMS norm, which has neither mean nor bias"},
        Field{
            "positions", &C::positions,
            "learned: a table; rotary: queries and keys are rotated; none: the causal mask alone"},
        Field{"rotary_base", &C::rotary_base,
              "rotary positions: the slowest pair turns by about 1 / this for each token",
              between(1.001, 1e12)},
        Field{"qk_norm", &C::qk_norm,
              "head: an RMS norm of each head's query and key, with one gain for all heads"},
        Field{"qk_gain", &C::qk_gain, "qk_norm: what the gain of queries starts with",
              between(1e-3, 1e3)},
        Field{"short_conv", &C::short_conv,
              "after each norm of a block, each channel adds a weighted sum of its values at the "
              "last so many positions, from 2 on; 0: none",
              between(0, 65536)},
        Field{
            "x0_shortcut", &C::x0_shortcut,
            "whether each block reads a learned mean of the stream and of what entered the first"},
        Field{"ngram", &C::ngram, "tables of n-grams, added before every block"},
        Field{"value_residual", &C::value_residual,
              "whether attention behind the first block mixes that one's values with its own"},
        Field{"bias", &C::bias, "whether Linears have biases; those of layer norms stay"},
        Field{"tied", &C::tied,
              "whether the last Linear's weight is the token table; tables are then drawn as "
              "Linears"},
        Field{"kernels", &C::kernels, "fast, or reference: slow, made of readable modules"},
        Field{"moe", &C::moe, "the mixture layers"}};
  }
};
static_assert(table_is_complete<ModelConfig>);

struct EvalConfig {
  EvalMode mode = EvalMode::full;
  std::int64_t eval_iters = 400;
  std::optional<std::int64_t> stride;

  static constexpr auto fields() {
    using C = EvalConfig;
    return std::tuple{
        Field{"mode", &C::mode,
              "full: every target exactly once; random: eval_iters random batches, as published"},
        Field{"eval_iters", &C::eval_iters,
              "random batches in an evaluation, if eval.mode is random", between(1, 1e6)},
        Field{"stride", &C::stride,
              "full: windows begin this far apart, and each but the first scores its last targets "
              "alone, so that all have block_size - stride symbols before them; null: block_size",
              steps_from(1)}};
  }
};
static_assert(table_is_complete<EvalConfig>);

/// The whole tree.
struct RunConfig {
  std::int64_t seed = 1337;
  std::string device = "auto";
  std::int64_t threads = 0;
  bool deterministic = true;
  DataConfig data;
  ModelConfig model;
  OptimConfig optim;
  TrainConfig train;
  EvalConfig eval;
  TrackingConfig tracking;

  static constexpr auto fields() {
    using C = RunConfig;
    return std::tuple{
        Field{"seed", &C::seed,
              "seed of everything random: weights, windows, dropout, noise, samples", at_least(0)},
        Field{"device", &C::device, "auto (CUDA if there is one), cpu, cuda or cuda:N", Bounds{},
              OnResume::may_change},
        Field{"threads", &C::threads, "CPU threads; 0: physical cores, at most OMP_NUM_THREADS",
              between(0, 4096), OnResume::may_change},
        Field{"deterministic", &C::deterministic, "use only operations that repeat bit for bit"},
        Field{"data", &C::data, "the text"},
        Field{"model", &C::model, "the network"},
        Field{"optim", &C::optim, "the optimizer"},
        Field{"train", &C::train, "the training loop"},
        Field{"eval", &C::eval, "evaluation"},
        Field{"tracking", &C::tracking, "where metrics go besides metrics.jsonl"}};
  }
};
static_assert(table_is_complete<RunConfig>);

}  // namespace moe
