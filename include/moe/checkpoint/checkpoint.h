#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "moe/base/file.h"
#include "moe/base/json.h"
#include "moe/config/config.h"
#include "moe/data/tokenizer.h"
#include "moe/model/flat.h"
#include "moe/optim/optim.h"

namespace moe {

/// A checkpoint that was found and may be loaded.
struct CheckpointRef {
  std::filesystem::path folder;              // RUN/checkpoints/step-00000500
  std::optional<std::filesystem::path> run;  // RUN, where the folder lies in one
  std::int64_t step = 0;
};

/// CHECKPOINT of the command line: a run folder (its best, else its last), RUN@last, RUN@best,
/// RUN@STEP, or a checkpoint folder. Never falls back: throws CheckpointError saying what there is.
CheckpointRef resolve_checkpoint(const std::string& name);

/// What a model needs besides its weights, from the checkpoint's run or its own folder.
struct CheckpointInfo {
  CheckpointRef ref;
  RunConfig config;
  CharTokenizer tokenizer;
  Json state;               // state.json
  std::uint64_t bytes = 0;  // all files
};

/// Verifies sizes and checksums of every file first. Throws CheckpointError naming file and tensor.
CheckpointInfo read_checkpoint_info(const CheckpointRef& ref);

/// Whether NaN and infinity may be among weights that are read.
enum class WeightValues { finite, any };

/// Fills `flat` from the checkpoint's model.safetensors. All differences in names and shapes are
/// listed at once, and nothing is changed then.
void load_weights(const CheckpointRef& ref, FlatParameters& flat,
                  WeightValues values = WeightValues::finite);
/// Fills the moments and the count of updates.
void load_optimizer(const CheckpointRef& ref, const FlatParameters& flat, AdamW& optimizer);

/// Publishes RUN/checkpoints/step-N whole: model.safetensors, optimizer.safetensors, state.json,
/// config.json, tokenizer.json, manifest.json last, each fsynced; folder renamed into place; read
/// back and verified. Then updates the hints `last` (and `best` where `is_best`). Throws
/// ResourceError; up to the rename it has then removed what it wrote, after it the checkpoint
/// stands and only a hint is stale.
void save_checkpoint(const std::filesystem::path& run, std::int64_t step,
                     const FlatParameters& flat, const AdamW& optimizer, const Json& state,
                     const RunConfig& config, const CharTokenizer& tokenizer, bool is_best,
                     FileLayer& files);

/// The newest checkpoint of a run that verifies, for --resume; a damaged one is skipped with a line
/// in `notices`. nullopt when there is none at all; throws when all are damaged.
std::optional<CheckpointInfo> newest_sound_checkpoint(const std::filesystem::path& run,
                                                      std::vector<std::string>& notices);

/// Removes all but the newest `keep` checkpoints (at least 2) and the best one. Never throws for
/// what can not be removed: it is warned of once, and tried again by the next call.
void prune_checkpoints(const std::filesystem::path& run, std::int64_t keep, std::int64_t best_step,
                       FileLayer& files);

/// A published-name state_dict, `tril` buffers accepted and ignored. Returns what stood before
/// every name and was taken off ("module.", ...), or "". Throws CheckpointError.
std::string import_weights(const std::filesystem::path& safetensors, FlatParameters& flat,
                           WeightValues values = WeightValues::finite);
/// The reverse, `tril` buffers (float32) included: `write` gets the bytes of the file.
void export_weights(const FlatParameters& flat, const ModelConfig& config,
                    const std::function<void(Pieces)>& write);

}  // namespace moe
