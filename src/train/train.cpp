#include "moe/base/system.h"
#include "moe/base/text.h"
#include "moe/config/load.h"
#include "train/loop.h"

namespace moe {

namespace {

/// Refuses what may not change between a run and its continuation.
void check_resumable(const RunFolder& folder, const RunConfig& wanted) {
  const auto file = folder.path() / "config.json";
  if (!fs::exists(file)) return;
  const auto saved = config_from_json(read_json(file.string(), ErrorKind::config), file.string());
  const auto differences = resume_differences(saved, wanted);
  if (!differences.empty())
    throw ConfigError(cat(folder.path().string(), ": --resume can not change ",
                          join(differences, "; "),
                          "; take these back, or train into another folder"));
}

RunFolder open_folder(const TrainRequest& request, FileLayer& files) {
  std::error_code ignored;
  if (request.resume && fs::exists(request.out, ignored))
    return RunFolder::open(request.out, files);
  return RunFolder::create(request.out, files);
}

}  // namespace

TrainSummary train(const TrainRequest& request, const InterruptFlag& interrupt, Log& log,
                   FileLayer& files) {
  const auto process = resident_memory();
  auto material = read_material(request.config, log);
  check_precision(request.config);
  check_memory(
      estimate_memory(request.config, material.tokenizer.vocab_size(), material.size(), process));
  auto folder = open_folder(request, files);
  if (request.resume) check_resumable(folder, request.config);
  std::vector<std::string> notices;
  const auto from = request.resume ? newest_sound_checkpoint(folder.path(), notices) : std::nullopt;
  for (const auto& notice : notices) log.warn(notice);
  const auto tokenizer = material.tokenizer;
  Loop loop(request, std::move(material), folder, interrupt, log, files);
  if (!request.init_from.empty() && !from) loop.load_weights_from(request.init_from);
  if (from) loop.resume_from(*from);
  if (from && loop.is_recorded_as_finished()) return loop.summary();
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
