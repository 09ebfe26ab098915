#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "moe/base/file.h"
#include "moe/base/json.h"
#include "moe/base/log.h"
#include "moe/config/config.h"
#include "moe/data/tokenizer.h"
#include "moe/spec/vocabulary.h"

namespace moe {

// Which checkpoints there are, which of them are sound and a run's own, and which its names mean
// (ADR 0035). The files `best` and `last` are for people and scripts: nothing here reads them.

/// A checkpoint that was found and may be loaded.
struct CheckpointRef {
  std::filesystem::path folder;              // RUN/checkpoints/step-00000500
  std::optional<std::filesystem::path> run;  // RUN, where the folder lies in one
  std::int64_t step = 0;
};

/// What a model needs besides its weights.
struct CheckpointInfo {
  CheckpointRef ref;
  RunConfig config;
  Tokenizer tokenizer;
  std::vector<NgramKeys> ngrams;  // of the tables that the config asks for
  Json state;                     // state.json
  std::uint64_t bytes = 0;        // all files

  Vocabulary vocabulary() const { return {tokenizer.vocab_size(), ngrams}; }
};

/// Verifies sizes and checksums of every file first. Throws CheckpointError naming file and tensor.
CheckpointInfo read_checkpoint_info(const CheckpointRef& ref);

/// All checkpoints of a run, whatever their state, newest first: by step, never by time.
std::vector<CheckpointRef> list_checkpoints(const std::filesystem::path& run);

/// What a run's own checkpoints were trained with, as its config.json and run.json say. A run
/// without these files takes every checkpoint for its own.
class RunIdentity {
 public:
  explicit RunIdentity(const std::filesystem::path& run);
  /// How a checkpoint's config and state differ from the run's; "" for one of its own.
  std::string difference(const RunConfig& config, const Json& state) const;
  /// The same of a checkpoint that nobody has verified; "" where its files do not read.
  std::string difference(const CheckpointRef& ref) const;

 private:
  bool is_own_text(const Json& state) const;

  std::optional<RunConfig> config_;
  std::string data_sha256_, text_sha256_;
};

/// One that can not stand for the run: damaged, or copied in from another run.
struct PassedOver {
  CheckpointRef ref;
  bool is_foreign = false;
  std::string why;  // names the file
};

/// The newest sound checkpoint of a run, whose state decides which is the best and the last.
struct NewestSound {
  CheckpointInfo info;
  std::vector<PassedOver> passed_over;  // those that would be newer
};
/// nullopt where there is no checkpoint at all; throws CheckpointError where none is sound and the
/// run's own.
std::optional<NewestSound> newest_sound(const std::filesystem::path& run);

/// The best checkpoint by the state of the newest sound one; nullopt where nothing was evaluated,
/// or nothing better than an untrained model that was not saved. Throws CheckpointError where the
/// best step has no checkpoint any more, or a damaged one.
std::optional<CheckpointInfo> best_checkpoint(const CheckpointInfo& newest);

/// Whether a checkpoint is sound and its run's own.
bool is_sound(const CheckpointRef& ref, const RunIdentity& identity);

/// CHECKPOINT of the command line, found, verified and handed to `load`: a run folder (its best,
/// else its last), RUN@last, RUN@best, RUN@STEP, or a checkpoint folder. The newest sound
/// checkpoint decides what best and last mean; what was passed over for it is a line in `notices`.
/// One that is named by its step or folder never falls back. Where a training run removes the
/// checkpoint meanwhile, the name is looked up again, a few times. Throws CheckpointError saying
/// what there is.
CheckpointInfo load_checkpoint(const std::string& name, std::vector<std::string>& notices,
                               const std::function<void(const CheckpointInfo&)>& load = {});
/// The same; the notices are warnings.
CheckpointInfo load_noticed(const std::string& name, Log& log,
                            const std::function<void(const CheckpointInfo&)>& load = {});

}  // namespace moe
