#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "moe/config/load.h"
#include "moe/config/spec_of.h"
#include "moe/exchange/gguf_model.h"
#include "moe/spec/parameter_table.h"
#include "tests/base/scratch.h"

namespace moe::test {

/// A model with a twin (of n_embed 32 and the like), changed by these keys.
inline ModelConfig gguf_config(const std::vector<std::string>& overrides) {
  std::vector<std::string> all{
      "model.norm=rms",          "model.positions=rotary",   "model.bias=false",
      "model.n_embed=32",        "model.n_head=4",           "model.n_layer=2",
      "model.block_size=16",     "model.moe.router=topk",    "model.moe.activation=swiglu",
      "model.moe.num_experts=3", "model.moe.expert_width=32"};
  all.insert(all.end(), overrides.begin(), overrides.end());
  RunConfig config;
  apply_overrides(config, all);
  EXPECT_TRUE(config_problems(config).empty());
  return config.model;
}

/// Tensors under their published names.
class PublishedTensors {
 public:
  /// Values drawn at random, each another.
  explicit PublishedTensors(const ModelSpec& spec, float scale = 1) {
    std::mt19937 draws(59);
    std::normal_distribution<float> normal(0, scale);
    const ParameterTable table(spec);
    for (const auto& piece : table.published()) {
      auto& values = tensors_[piece.name];
      values.resize(static_cast<std::size_t>(table.rows()[piece.row].piece_numel()));
      for (auto& value : values) value = scale == 0 ? 0 : normal(draws);
    }
  }
  ValuesOf values() const {
    return [this](const std::string& name) -> std::span<const float> { return tensors_.at(name); };
  }
  PlaceOf room() {
    return [this](const std::string& name) -> std::span<float> { return tensors_.at(name); };
  }
  std::map<std::string, std::vector<float>>& tensors() { return tensors_; }

 private:
  std::map<std::string, std::vector<float>> tensors_;
};

inline CharTokenizer letters() { return CharTokenizer::from_text("\n abcdefghi\\"); }

/// A file in memory and on disk.
class GgufOnDisk {
 public:
  explicit GgufOnDisk(std::string bytes) : bytes_(std::move(bytes)) {
    std::ofstream(scratch_ / "m.gguf", std::ios::binary) << bytes_;
    file_.emplace(scratch_ / "m.gguf", ErrorKind::checkpoint);
    header_ = read_gguf(*file_, "m.gguf");
  }
  const std::string& bytes() const { return bytes_; }
  const FileReader& file() const { return *file_; }
  const GgufHeader& header() const { return header_; }

 private:
  Scratch scratch_;
  std::string bytes_;
  std::optional<FileReader> file_;
  GgufHeader header_;
};

inline std::string bytes_of_source(const ByteSource& source) {
  std::string out;
  source([&](std::string_view bytes) { out += bytes; });
  return out;
}

inline std::string exported(const ModelConfig& config, const PublishedTensors& tensors,
                            GgmlType type = GgmlType::f32,
                            std::vector<std::string>* notices = nullptr) {
  std::string out;
  auto said = export_gguf(config, letters(), type, tensors.values(),
                          [&](const ByteSource& source) { out = bytes_of_source(source); });
  if (notices != nullptr) *notices = std::move(said);
  return out;
}

}  // namespace moe::test
