#include "moe/base/text.h"
#include "moe/config/load.h"
#include "train/loop.h"

namespace moe {

namespace {

/// Refuses what may not change between a run and its continuation.
void check_resumable(const fs::path& run, const RunConfig& saved, const RunConfig& wanted) {
  const auto differences = resume_differences(saved, wanted);
  if (!differences.empty())
    throw ConfigError(cat(run.string(), ": --resume can not change ", join(differences, "; "),
                          "; take these back, or train into another folder"));
}

std::optional<RunConfig> saved_config(const fs::path& run) {
  const auto file = run / "config.json";
  if (!fs::exists(file)) return std::nullopt;
  return config_from_json(read_json(file.string(), ErrorKind::config), file.string());
}

RunFolder open_folder(const TrainRequest& request, FileLayer& files) {
  std::error_code ignored;
  if (request.resume && fs::exists(request.out, ignored))
    return RunFolder::open(request.out, files);
  return RunFolder::create(request.out, files);
}

/// The checkpoint to continue from; says which newer ones can not be.
std::optional<NewestSound> find_beginning(const fs::path& run, const RunConfig& wanted, Log& log) {
  const auto saved = saved_config(run);
  if (saved) check_resumable(run, *saved, wanted);
  auto found = newest_sound(run);
  if (!found) return found;
  if (!saved) check_resumable(run, found->info.config, wanted);
  for (const auto& one : found->passed_over)
    log.warn(cat(one.why, " (falling back to step ", found->info.ref.step, ")"));
  try {
    best_checkpoint(found->info);
  } catch (const CheckpointError& error) {
    log.warn(cat(error.what(), " (there is no @best until a better step is saved)"));
  }
  return found;
}

/// Before a run goes on past what was passed over. What can not be renamed does no harm either:
/// nothing counts it, and no name of a checkpoint means it.
void tidy_checkpoints(const NewestSound& from, FileLayer& files, Log& log) {
  try {
    for (const auto& line : put_aside(from.passed_over, files)) log.warn(line);
    correct_hints(from.info, files);
  } catch (const ResourceError& error) {
    log.warn(cat(error.what(), " (training goes on)"));
  }
}

/// A run that has finished trains no more, but can still be shown where it was not.
void track_finished(const RunFolder& folder, const RunConfig& wanted, FileLayer& files, Log& log) {
  const auto run = folder.path().string();
  if (write_missing_tensorboard(folder, wanted, files, log))
    log.info(cat(run, ": TensorBoard's file was written from metrics.jsonl"));
  const auto saved = saved_config(folder.path());
  const auto& uri = wanted.tracking.mlflow.uri;
  if (!uri.empty() && uri != "none" && (!saved || saved->tracking.mlflow.uri != uri))
    log.info(
        cat(run, ": send it with: makemoe track push ", run, " --set tracking.mlflow.uri=", uri));
}

}  // namespace

TrainSummary train(const TrainRequest& request, const InterruptFlag& interrupt, Log& log,
                   FileLayer& files) {
  auto material = read_material(request.config, log);
  check_precision(request.config);
  check_memory(request.config, material.tokenizer.vocab_size());
  auto folder = open_folder(request, files);
  const auto from =
      request.resume ? find_beginning(folder.path(), request.config, log) : std::nullopt;
  const auto tokenizer = material.tokenizer;
  Loop loop(request, std::move(material), folder, interrupt, log, files);
  if (!request.init_from.empty() && !from) loop.load_weights_from(request.init_from);
  if (from) loop.resume_from(from->info);
  if (from && loop.is_recorded_as_finished()) {
    log.info(loop.end_text(loop.summary()));
    track_finished(folder, request.config, files, log);
    return loop.summary();
  }
  if (from) {
    tidy_checkpoints(*from, files, log);
    log.info(cat("resuming at step ", from->info.ref.step));
  }
  if (!from && request.resume) folder.cut_back_to(-1);
  log.also_to(folder.path() / "log.txt");
  folder.write_json("config.json", config_to_json(request.config));
  folder.write_json("tokenizer.json", tokenizer.to_json());
  try {
    return loop.run();
  } catch (...) {
    loop.write_run_json("failed");
    loop.end_tracking();
    throw;
  }
}

}  // namespace moe
