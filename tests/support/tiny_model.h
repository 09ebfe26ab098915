#pragma once

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "model/engine.h"
#include "moe/config/spec_of.h"
#include "moe/model/build.h"
#include "moe/model/flat.h"
#include "moe/model/language_model.h"
#include "tests/support/device.h"

namespace moe::test {

constexpr std::int64_t kVocab = 13;
constexpr std::uint64_t kKey = 0x123456789ABCDEFULL;

constexpr EngineKind kEngines[] = {EngineKind::fast, EngineKind::reference, EngineKind::stacked};
inline std::string name_of(EngineKind kind) {
  return kind == EngineKind::fast        ? "fast"
         : kind == EngineKind::reference ? "reference"
                                         : "stacked";
}

/// Two layers of width 8; a test changes what it is about. No dropout.
inline ModelConfig tiny_config() {
  ModelConfig config;
  config.n_embed = 8;
  config.n_head = 2;
  config.n_layer = 2;
  config.block_size = 6;
  config.dropout = 0;
  config.moe.num_experts = 4;
  config.moe.top_k = 2;
  return config;
}

/// kVocab symbols, and for each n-gram table about half of all keys, whatever their places: every
/// third and fifth.
inline Vocabulary vocabulary_of(const ModelConfig& config) {
  Vocabulary vocabulary(kVocab);
  for (const auto order : config.ngram.orders) {
    NgramKeys keys{order};
    for (std::int64_t number = 0; number < *count_runs(kVocab, order); ++number) {
      if (number % 3 != 0 && number % 5 != 0) continue;
      auto rest = number;
      std::vector<std::int32_t> run(static_cast<std::size_t>(order));
      for (auto id = run.rbegin(); id != run.rend(); ++id, rest /= kVocab + 1)
        *id = static_cast<std::int32_t>(rest % (kVocab + 1));
      keys.symbols.insert(keys.symbols.end(), run.begin(), run.end());
    }
    vocabulary.ngrams.push_back(std::move(keys));
  }
  return vocabulary;
}

/// A model, in double unless said, with the weights that seed 1 draws, in flat buffers.
struct Built {
  explicit Built(const ModelConfig& model_config, at::ScalarType type = at::kDouble)
      : Built(model_config, engine_kind(model_config.kernels), type) {}
  Built(const ModelConfig& model_config, EngineKind kind, at::ScalarType type = at::kDouble)
      : config(model_config), engine(kind), model(drawn(model_config, kind, type)), flat(model) {
    // Away from 0, so that what starts there is seen.
    for (const auto& tensor : flat.layout()) {
      const auto& row = flat.table().rows()[tensor.row];
      const bool is_lambda = row.shape == std::vector<std::int64_t>{1};
      if (is_lambda) value(tensor.name).add_(0.2);
      if (!row.is_trained() || row.role == Role::short_conv || row.role == Role::ngram_table)
        value(tensor.name).copy_(at::arange(tensor.numel()).cos().mul(0.2).view(tensor.shape));
    }
  }

  static SparseMoELanguageModel drawn(const ModelConfig& config, EngineKind engine,
                                      at::ScalarType type) {
    const auto spec = spec_of(config, vocabulary_of(config));
    SparseMoELanguageModel source(spec, engine), model(spec, engine);
    initialise(source, /*seed=*/1);
    model->to(test_device(), type);
    const at::NoGradGuard no_grad;
    const auto from = source->named_parameters();
    for (auto& item : model->named_parameters()) item.value().copy_(from[item.key()]);
    return model;
  }

  const PublishedTensor& published(const std::string& name) const {
    for (const auto& tensor : flat.layout())
      if (tensor.name == name) return tensor;
    throw std::out_of_range("no parameter " + name);
  }
  /// The parameter, and its gradient, of a published name.
  at::Tensor value(const std::string& name) {
    return FlatParameters::view(flat.values(), published(name));
  }
  at::Tensor gradient(const std::string& name) {
    return FlatParameters::view(flat.gradients(), published(name));
  }
  BlockImpl& block(std::int64_t layer) {
    return *model->named_modules()["blocks." + std::to_string(layer)]->as<Block>();
  }
  /// Of one layer: y is x + mixture(norm(x)).
  MoeOutput mix(std::int64_t layer, const at::Tensor& x, const ForwardContext& context) {
    return engine_for(engine, x.device()).mix(block(layer), x, context, /*cache=*/nullptr);
  }

  ModelConfig config;
  EngineKind engine;
  SparseMoELanguageModel model;
  FlatParameters flat;
};

/// Standard normal draws in double; the same on every device.
inline at::Tensor random_values(at::IntArrayRef shape) {
  return at::randn(shape, at::TensorOptions(at::kDouble)).to(test_device());
}

inline at::Tensor random_ids(std::int64_t batch, std::int64_t time) {
  return at::randint(kVocab, {batch, time}, at::TensorOptions(at::kLong)).to(test_device());
}

inline ForwardContext context_of(const at::Tensor& ids, bool training,
                                 std::int64_t first_sequence = 0, std::int64_t first_position = 0) {
  return make_context(ids.size(0), ids.size(1), training, kKey, first_sequence, first_position);
}

}  // namespace moe::test
