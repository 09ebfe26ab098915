#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "moe/config/load.h"
#include "moe/data/tokenizer.h"
#include "moe/store/manifest.h"

namespace moe::test {

/// What the state of a stored checkpoint says.
struct StoredState {
  std::int64_t step = 0, best_step = -1;
  std::string data_sha256 = "ab";
};

inline std::filesystem::path checkpoint_folder(const std::filesystem::path& run,
                                               std::int64_t step) {
  const auto digits = std::to_string(step);
  return run / "checkpoints" / ("step-" + std::string(8 - digits.size(), '0') + digits);
}

/// A sound checkpoint of a run, made without libtorch: its weights are a byte, which nobody may
/// load.
inline void store_checkpoint(const std::filesystem::path& run, const StoredState& says,
                             const RunConfig& config = {}) {
  const auto tokenizer = json_text(CharTokenizer::from_text("ab").to_json());
  const auto state = json_text(
      {{"step", says.step}, {"best_step", says.best_step}, {"data_sha256", says.data_sha256}});
  const auto settings = json_text(config_to_json(config));
  const std::vector<CheckpointFile> files{{"model.safetensors", {{"", "w"}}},
                                          {"optimizer.safetensors", {{"", "m"}}},
                                          {"state.json", {{"", state}}},
                                          {"config.json", {{"", settings}}},
                                          {"tokenizer.json", {{"", tokenizer}}}};
  const auto folder = checkpoint_folder(run, says.step);
  std::filesystem::create_directories(folder);
  for (const auto& file : files)
    std::ofstream(folder / file.name, std::ios::binary) << file.pieces[0].bytes;
  std::ofstream(folder / "manifest.json") << make_manifest(says.step, files);
}

}  // namespace moe::test
