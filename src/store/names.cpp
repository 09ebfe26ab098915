#include "store/names.h"

#include <algorithm>

#include "moe/base/path.h"
#include "moe/base/text.h"

namespace moe {

namespace {

constexpr int kLookUps = 5;  // of a name whose checkpoints are removed while they are read

/// RUN and "" (the best, else the last), "@best", "@last" or "@STEP"; or a checkpoint's folder.
struct CheckpointName {
  std::optional<CheckpointRef> folder;
  fs::path run;
  std::string which;
};

CheckpointName parse_name(const std::string& name) {
  constexpr auto kKind = ErrorKind::checkpoint;
  const fs::path path(name);
  if (is_there(path / "manifest.json", kKind)) {
    std::error_code ignored;  // of the run around it, which need not be there
    const auto canonical = fs::weakly_canonical(path, ignored);
    const bool in_run = canonical.parent_path().filename() == "checkpoints";
    const auto run = in_run ? std::optional(canonical.parent_path().parent_path()) : std::nullopt;
    return {CheckpointRef{path, run, step_of(canonical).value_or(0)}, run.value_or(""), ""};
  }
  if (is_folder(path, kKind)) return {{}, path, ""};
  const auto at = name.rfind('@');
  if (at != std::string::npos && is_folder(name.substr(0, at), kKind))
    return {{}, name.substr(0, at), name.substr(at)};
  throw CheckpointError(cat("\"", printable(name, 300), "\"",
                            ": there is no such run or checkpoint; name a run folder, "
                            "RUN@best, RUN@last, RUN@STEP or a checkpoint folder"));
}

[[noreturn]] void refuse(const fs::path& run, const std::string& what) {
  throw CheckpointError(cat(run.string(), ": ", what, "; ", steps_text(list_checkpoints(run))));
}

CheckpointInfo read_step(const fs::path& run, const std::string& which) {
  const auto step = whole_number(std::string_view(which).substr(1));
  if (!step) refuse(run, cat("\"", printable(which), "\" is none of @best, @last, @STEP"));
  for (const auto& ref : list_checkpoints(run))
    if (ref.step == *step) return read_checkpoint_info(ref);
  refuse(run, cat("there is no checkpoint of step ", *step));
}

std::vector<fs::path> folders_in(const fs::path& run) {
  std::vector<fs::path> folders;
  if (run.empty()) return folders;  // the name is a checkpoint that lies in no run
  for (const auto& ref : list_checkpoints(run)) folders.push_back(ref.folder);
  return folders;
}

bool is_any_gone(const std::vector<fs::path>& folders) {
  std::error_code ignored;
  return std::ranges::any_of(folders, [&](const auto& one) { return !fs::exists(one, ignored); });
}

/// RUN without more: its best checkpoint, else its last.
CheckpointInfo best_else_last(const fs::path& run, NewestSound newest,
                              std::vector<std::string>& notices) {
  const auto before = folders_in(run);
  try {
    if (auto best = best_checkpoint(newest.info)) return std::move(*best);
  } catch (const CheckpointError& error) {
    if (is_any_gone(before)) throw;  // removed while it was read: looked up again
    notices.push_back(
        cat(error.what(), " (the last one is taken, of step ", newest.info.ref.step, ")"));
  }
  return std::move(newest.info);
}

CheckpointInfo find(const CheckpointName& name, std::vector<std::string>& notices) {
  if (name.folder) return read_checkpoint_info(*name.folder);
  if (list_checkpoints(name.run).empty()) refuse(name.run, "no checkpoint to load");
  if (!name.which.empty() && name.which != "@best" && name.which != "@last")
    return read_step(name.run, name.which);
  auto newest = newest_sound(name.run);
  if (!newest) refuse(name.run, "no checkpoint to load");
  for (const auto& one : newest->passed_over)
    notices.push_back(cat(one.why, " (passed over; the newest sound checkpoint is of step ",
                          newest->info.ref.step, ")"));
  if (name.which == "@last") return std::move(newest->info);
  if (name.which.empty()) return best_else_last(name.run, std::move(*newest), notices);
  auto best = best_checkpoint(newest->info);
  if (!best)
    refuse(name.run, "there is no best checkpoint: no step after 0 was the best of an evaluation");
  return std::move(*best);
}

}  // namespace

std::string steps_text(const std::vector<CheckpointRef>& checkpoints) {
  std::vector<std::string> steps;
  steps.reserve(checkpoints.size());
  for (const auto& ref : checkpoints) steps.push_back(cat(ref.step));
  return steps.empty() ? "name a run folder that has been trained, or a checkpoint folder"
                       : "name one of its steps, " + join(steps, ", ");
}

CheckpointInfo load_checkpoint(const std::string& name, std::vector<std::string>& notices,
                               const std::function<void(const CheckpointInfo&)>& load) {
  for (int attempt = 1;; ++attempt) {
    const auto parsed = parse_name(name);
    const auto before = folders_in(parsed.run);
    std::vector<std::string> said;
    try {
      auto info = find(parsed, said);
      if (load) load(info);
      notices.insert(notices.end(), said.begin(), said.end());
      return info;
    } catch (const CheckpointError&) {
      // A run that trains removes its old checkpoints, also the one that is being read.
      if (!is_any_gone(before)) throw;
      if (attempt == kLookUps)
        throw CheckpointError(cat(parsed.run.string(),
                                  ": its checkpoints were removed while they "
                                  "were read, ",
                                  kLookUps,
                                  " times; wait until the run has ended, "
                                  "or give it a larger train.keep_checkpoints"));
    }
  }
}

CheckpointInfo load_noticed(const std::string& name, Log& log,
                            const std::function<void(const CheckpointInfo&)>& load) {
  std::vector<std::string> notices;
  auto info = load_checkpoint(name, notices, load);
  for (const auto& notice : notices) log.warn(notice);
  return info;
}

}  // namespace moe
