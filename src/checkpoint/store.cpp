#include <algorithm>
#include <charconv>

#include "moe/base/text.h"
#include "moe/checkpoint/checkpoint.h"
#include "moe/checkpoint/manifest.h"
#include "moe/config/load.h"

namespace moe {

namespace {

constexpr std::string_view kStepPrefix = "step-";

std::optional<std::int64_t> whole_number(std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

std::optional<std::int64_t> step_of(const fs::path& folder) {
  const auto name = folder.filename().string();
  if (!name.starts_with(kStepPrefix)) return std::nullopt;
  return whole_number(std::string_view(name).substr(kStepPrefix.size()));
}

/// All checkpoints of a run, newest first: by step, never by time. Throws Error of `kind` where the
/// folder can not be read: that is not a run without checkpoints.
std::vector<CheckpointRef> list_checkpoints(const fs::path& run,
                                            ErrorKind kind = ErrorKind::checkpoint) {
  std::vector<CheckpointRef> found;
  for (const auto& entry : entries_of(run / "checkpoints", kind))
    if (const auto step = step_of(entry); step && is_folder(entry, kind))
      found.push_back({entry, run, *step});
  std::sort(found.begin(), found.end(),
            [](const CheckpointRef& a, const CheckpointRef& b) { return a.step > b.step; });
  return found;
}

std::string steps_text(const std::vector<CheckpointRef>& checkpoints) {
  std::vector<std::string> steps;
  for (const auto& ref : checkpoints) steps.push_back(cat(ref.step));
  return steps.empty() ? "name a run folder that has been trained, or a checkpoint folder"
                       : "name one of its steps, " + join(steps, ", ");
}

/// The checkpoint that the hint file `checkpoints/NAME` names, if there is such a one.
std::optional<CheckpointRef> hinted(const fs::path& run, const std::string& name,
                                    const std::vector<CheckpointRef>& checkpoints) {
  constexpr std::uint64_t kLongestHint = 200;
  const auto file = run / "checkpoints" / name;
  std::error_code ignored;
  if (!fs::is_regular_file(file, ignored) || fs::file_size(file, ignored) > kLongestHint)
    return std::nullopt;
  auto text = read_file(file, ErrorKind::checkpoint);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  for (const auto& ref : checkpoints)
    if (ref.folder.filename() == text) return ref;
  return std::nullopt;
}

/// `which` is "" (the best, else the last), "@best", "@last" or "@STEP".
CheckpointRef resolve_in_run(const fs::path& run, const std::string& which) {
  const auto checkpoints = list_checkpoints(run);
  const auto refuse = [&](const std::string& what) {
    throw CheckpointError(cat(run.string(), ": ", what, "; ", steps_text(checkpoints)));
  };
  if (checkpoints.empty()) refuse("no checkpoint to load");
  if (which == "@last") return checkpoints.front();
  if (which == "@best" || which.empty()) {
    if (auto best = hinted(run, "best", checkpoints)) return *best;
    if (which == "@best") refuse("there is no best checkpoint");
    return checkpoints.front();
  }
  const auto step = whole_number(std::string_view(which).substr(1));
  if (!step) refuse(cat("\"", printable(which), "\" is none of @best, @last, @STEP"));
  for (const auto& ref : checkpoints)
    if (ref.step == *step) return ref;
  refuse(cat("there is no checkpoint of step ", *step));
  return {};
}

}  // namespace

CheckpointRef resolve_checkpoint(const std::string& name) {
  const fs::path path(name);
  if (is_there(path / "manifest.json", ErrorKind::checkpoint)) {
    std::error_code ignored;  // of the run around it, which need not be there
    const auto canonical = fs::weakly_canonical(path, ignored);
    const bool in_run = canonical.parent_path().filename() == "checkpoints";
    return {path, in_run ? std::optional(canonical.parent_path().parent_path()) : std::nullopt,
            step_of(canonical).value_or(0)};
  }
  const auto at = name.rfind('@');
  const bool is_run = is_folder(path, ErrorKind::checkpoint);
  if (!is_run && at != std::string::npos && is_folder(name.substr(0, at), ErrorKind::checkpoint))
    return resolve_in_run(name.substr(0, at), name.substr(at));
  if (!is_run)
    throw CheckpointError(cat("\"", printable(name, 300), "\"",
                              ": there is no such run or checkpoint; name a run folder, "
                              "RUN@best, RUN@last, RUN@STEP or a checkpoint folder"));
  return resolve_in_run(path, "");
}

CheckpointInfo read_checkpoint_info(const CheckpointRef& ref) {
  CheckpointInfo info;
  info.ref = ref;
  const auto manifest = verify_manifest(ref.folder);
  info.bytes = manifest.bytes;
  const auto read = [&](const char* name) {
    return read_json((ref.folder / name).string(), ErrorKind::checkpoint);
  };
  const auto config = (ref.folder / "config.json").string();
  try {
    info.config = config_from_json(read("config.json"), config);
  } catch (const ConfigError& error) {
    throw CheckpointError(error.what());
  }
  info.tokenizer = CharTokenizer::from_json(
      read("tokenizer.json"), (ref.folder / "tokenizer.json").string(), ErrorKind::checkpoint);
  info.state = read("state.json");
  const auto state = (ref.folder / "state.json").string();
  info.ref.step = json_integer(info.state, "step", 0, state, kUseAnother, ErrorKind::checkpoint);
  if (info.ref.step != manifest.step)
    throw CheckpointError(cat(state, ": is of step ", info.ref.step, ", its manifest of step ",
                              manifest.step, "; ", kUseAnother));
  return info;
}

std::optional<CheckpointInfo> newest_sound_checkpoint(const fs::path& run,
                                                      std::vector<std::string>& notices) {
  const auto checkpoints = list_checkpoints(run);
  for (const auto& ref : checkpoints) {
    try {
      return read_checkpoint_info(ref);
    } catch (const Error& error) {
      notices.push_back(cat(error.what(), " (falling back to the checkpoint before)"));
    }
  }
  if (!checkpoints.empty())
    throw CheckpointError(cat(run.string(),
                              ": every checkpoint is damaged; train anew into another folder\n",
                              join(notices, "\n")));
  return std::nullopt;
}

void prune_checkpoints(const fs::path& run, std::int64_t keep, std::int64_t best_step,
                       FileLayer& files) {
  const auto checkpoints = list_checkpoints(run, ErrorKind::resource);
  const auto kept = static_cast<std::size_t>(std::max<std::int64_t>(2, keep));
  for (std::size_t i = kept; i < checkpoints.size(); ++i) {
    if (checkpoints[i].step == best_step) continue;
    files.tidy(checkpoints[i].folder);
  }
}

}  // namespace moe
