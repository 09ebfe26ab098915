#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "moe/base/error.h"
#include "moe/base/file.h"
#include "moe/base/json.h"
#include "moe/config/config.h"
#include "moe/data/tokenizer.h"
#include "moe/model/flat.h"
#include "moe/optim/optim.h"
#include "moe/store/checkpoints.h"

namespace moe {

/// Whether NaN and infinity may be among weights that are read.
enum class WeightValues { finite, any };

/// A file has other weights than the model. The message lists every tensor that differs.
class WeightsMismatch : public CheckpointError {
 public:
  WeightsMismatch(const std::string& message, std::string few)
      : CheckpointError(message), few_(std::move(few)) {}
  /// Ten lines of that list at most, then how many more there are; each after a line end.
  const std::string& few() const noexcept { return few_; }

 private:
  std::string few_;
};

/// Fills `flat` from the checkpoint's model.safetensors. All differences in names and shapes are
/// listed at once in a WeightsMismatch, and nothing is changed then. Keys of n-gram tables that are
/// not the model's are a CheckpointError.
void load_weights(const CheckpointRef& ref, FlatParameters& flat,
                  WeightValues values = WeightValues::finite);
/// Fills what the optimizer keeps and its counts of updates. If it averages weights, those of the
/// checkpoint's model are the ones to evaluate with; `flat` then gets those to train on.
void load_optimizer(const CheckpointRef& ref, FlatParameters& flat, Optimizer& optimizer);

/// Publishes RUN/checkpoints/step-N whole: model.safetensors, whose weights are those to evaluate
/// with, optimizer.safetensors, state.json,
/// config.json, tokenizer.json, manifest.json last, each fsynced; folder renamed into place; read
/// back and verified. Then updates the hints `last` (and `best` where `is_best`). Throws
/// ResourceError; up to the rename it has then removed what it wrote, after it the checkpoint
/// stands and only a hint is stale.
void save_checkpoint(const std::filesystem::path& run, std::int64_t step,
                     const FlatParameters& flat, const Optimizer& optimizer, const Json& state,
                     const RunConfig& config, const Tokenizer& tokenizer, bool is_best,
                     FileLayer& files);

/// Renames what was passed over for an older checkpoint, so that it is neither counted nor
/// overwritten: RUN/checkpoints/damaged-step-N or foreign-step-N. Returns a line for each.
std::vector<std::string> put_aside(const std::vector<PassedOver>& passed_over, FileLayer& files);

/// Before step N is saved: renames in the same way what has its name and is no sound checkpoint of
/// the run, so that saving never overwrites it. Returns a line for each.
std::vector<std::string> make_way_for(const std::filesystem::path& run, std::int64_t step,
                                      FileLayer& files);

/// Makes the hints say what `newest`, and its best step, decide. Throws ResourceError.
void correct_hints(const CheckpointInfo& newest, FileLayer& files);

/// Removes all but the newest `keep` (at least 2) of the run's own sound checkpoints, and the best
/// one. Checkpoints of other runs stay. Steps in `verified` are known to be sound; those that are
/// found to be are added. Never throws for what can not be removed: it is warned of once, and tried
/// again by the next call.
void prune_checkpoints(const std::filesystem::path& run, std::int64_t keep, std::int64_t best_step,
                       FileLayer& files, std::set<std::int64_t>* verified = nullptr);

/// A published-name state_dict, `tril` buffers accepted and ignored. Returns what stood before
/// every name and was taken off ("module.", ...), or "". Throws CheckpointError.
std::string import_weights(const std::filesystem::path& safetensors, FlatParameters& flat,
                           WeightValues values = WeightValues::finite);
/// The reverse, `tril` buffers (float32) included: `write` gets the bytes of the file.
void export_weights(const FlatParameters& flat, const ModelConfig& config,
                    const std::function<void(Pieces)>& write);

}  // namespace moe
