#include <utility>

#include "moe/base/path.h"
#include "moe/base/program.h"
#include "moe/base/text.h"
#include "moe/config/load.h"
#include "train/beginning.h"
#include "train/loop.h"

namespace moe {

namespace {

/// Before a run continues past what was passed over. What cannot be renamed now is tried again
/// when its step is saved (make_way_for); until then nothing counts it.
void tidy_checkpoints(const NewestSound& from, FileLayer& files, Log& log) {
  try {
    for (const auto& line : put_aside(from.passed_over, files)) log.warn(line);
    correct_hints(from.info, files);
  } catch (const Error& error) {
    log.warn(cat(error.what(), " (training continues)"));
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
    log.info(cat(run, ": send it with: ",
                 command_line({"track", "push", run, "--set", cat("tracking.mlflow.uri=", uri)})));
}

/// Where nothing is left to do, says how the run ended.
std::optional<TrainSummary> finished_before(const Loop& loop, const RunFolder& folder,
                                            const RunConfig& wanted, FileLayer& files, Log& log) {
  if (!loop.is_recorded_as_finished()) return std::nullopt;
  auto summary = loop.summary();
  log.info(loop.end_text(summary));
  track_finished(folder, wanted, files, log);
  return summary;
}

TrainSummary train_in(RunFolder& folder, Beginning beginning, const TrainRequest& request,
                      const InterruptFlag& interrupt, Log& log, FileLayer& files) {
  const auto tokenizer = beginning.material.tokenizer;
  Loop loop(request, std::move(beginning.material), folder, interrupt, log, files);
  if (const auto& own = beginning.own) {
    loop.resume_from(own->info);
    if (auto done = finished_before(loop, folder, request.config, files, log)) return *done;
    tidy_checkpoints(*own, files, log);
    log.info(cat("resuming at step ", own->info.ref.step));
  } else if (request.resume) {
    for (const auto& notice : folder.cut_back_to(-1)) log.warn(notice);
  }
  log.also_to(folder.path() / "log.txt");
  folder.write_json("tokenizer.json", tokenizer.to_json());
  if (beginning.weights.defined()) {
    // Before config.json: what can be resumed without --init-from has these weights.
    loop.begin_with(beginning.weights);
    beginning.weights.reset();  // not to be held for the whole run
  }
  folder.write_json("config.json", config_to_json(request.config));
  try {
    return loop.run();
  } catch (...) {
    try {
      loop.write_run_json("failed");
      loop.end_tracking();          // not on a full disk: what arrives there could not be noted
    } catch (const Error& error) {  // what ended the run is the message that counts
      log.warn(error.what());
    }
    throw;
  }
}

}  // namespace

TrainSummary train(const TrainRequest& request, const InterruptFlag& interrupt, Log& log,
                   FileLayer& files) {
  if (!request.resume || !is_there(request.out, ErrorKind::resource)) {
    auto beginning = prepare(request, log, files);
    auto folder = request.out_is_default ? RunFolder::create_next(request.out, files)
                                         : RunFolder::create(request.out, files);
    return train_in(folder, std::move(beginning), request, interrupt, log, files);
  }
  auto folder = RunFolder::open(request.out, files);
  return train_in(folder, prepare(request, log, files), request, interrupt, log, files);
}

}  // namespace moe
