#include "moe/store/checkpoints.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "moe/base/path.h"
#include "moe/base/text.h"
#include "moe/config/load.h"
#include "moe/store/manifest.h"
#include "moe/store/ngrams.h"
#include "store/names.h"

namespace moe {

namespace {

constexpr std::string_view kStepPrefix = "step-";

std::optional<RunConfig> config_in(const fs::path& folder) {
  const auto file = (folder / "config.json").string();
  try {
    return config_from_json(read_json(file, ErrorKind::config), file);
  } catch (const Error&) {
    return std::nullopt;
  }
}

Json object_in(const fs::path& file) {
  try {
    auto json = read_json(file.string(), ErrorKind::checkpoint);
    return json.is_object() ? json : Json::object();
  } catch (const Error&) {
    return Json::object();
  }
}

std::string text_under(const Json& object, const char* key) {
  const auto found = object.is_object() ? object.value(key, Json()) : Json();
  return found.is_string() ? found.get<std::string>() : "";
}

/// Whether this user may not read it: that is no damage, and no reason to take another.
bool is_denied(const fs::path& folder) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error))
    if (::access(entry.path().c_str(), R_OK) != 0 && errno == EACCES) return true;
  return error == std::errc::permission_denied;
}

/// Reads a checkpoint of a run; throws CheckpointError where it cannot stand for its step.
CheckpointInfo read_named(const CheckpointRef& ref) {
  auto info = read_checkpoint_info(ref);
  if (info.ref.step != ref.step)
    throw CheckpointError(cat(ref.folder.string(), ": holds step ", info.ref.step,
                              "; give the folder the name of its step"));
  return info;
}

[[noreturn]] void refuse_all(const fs::path& run, const std::vector<PassedOver>& passed_over) {
  const bool has_foreign = std::any_of(passed_over.begin(), passed_over.end(),
                                       [](const PassedOver& one) { return one.is_foreign; });
  std::vector<std::string> reasons;
  reasons.reserve(passed_over.size());
  for (const auto& one : passed_over) reasons.push_back(one.why);
  throw CheckpointError(cat(run.string(), ": every checkpoint is damaged",
                            has_foreign ? " or of another run; put back the run's own config.json, "
                                          "or name a checkpoint by its step\n"
                                        : "; train anew into another folder\n",
                            join(reasons, "\n")));
}

}  // namespace

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

std::vector<CheckpointRef> list_checkpoints(const fs::path& run) {
  std::vector<CheckpointRef> found;
  for (const auto& entry : entries_of(run / "checkpoints", ErrorKind::checkpoint))
    if (const auto step = step_of(entry); step && is_folder(entry, ErrorKind::checkpoint))
      found.push_back({entry, run, *step});
  std::sort(found.begin(), found.end(),
            [](const CheckpointRef& a, const CheckpointRef& b) { return a.step > b.step; });
  return found;
}

CheckpointInfo read_checkpoint_info(const CheckpointRef& ref) {
  CheckpointInfo info;
  info.ref = ref;
  const auto manifest = verify_manifest(ref.folder);
  info.bytes = manifest.bytes;
  const auto read = [&](const char* name) {
    return read_json((ref.folder / name).string(), ErrorKind::checkpoint, kTokenizerLimits);
  };
  const auto config = (ref.folder / "config.json").string();
  try {
    info.config = config_from_json(read("config.json"), config);
  } catch (const ConfigError& error) {
    throw CheckpointError(error.what());
  }
  info.tokenizer = Tokenizer::from_json(
      read("tokenizer.json"), (ref.folder / "tokenizer.json").string(), ErrorKind::checkpoint);
  info.ngrams = read_ngram_keys(ref.folder / "model.safetensors", info.config.model.ngram,
                                info.tokenizer.vocab_size());
  info.state = read("state.json");
  const auto state = (ref.folder / "state.json").string();
  info.ref.step = json_integer(info.state, "step", 0, state, kUseAnother, ErrorKind::checkpoint);
  if (info.ref.step != manifest.step)
    throw CheckpointError(cat(state, ": is of step ", info.ref.step, ", its manifest of step ",
                              manifest.step, "; ", kUseAnother));
  return info;
}

RunIdentity::RunIdentity(const fs::path& run) : config_(config_in(run)) {
  const auto data = object_in(run / "run.json").value("data", Json());
  data_sha256_ = text_under(data, "sha256");
  text_sha256_ = text_under(data, "text_sha256");
}

bool RunIdentity::is_own_text(const Json& state) const {
  // An imported checkpoint has learned from no text so far: its sum is "".
  const auto file = text_under(state, "data_sha256"), text = text_under(state, "text_sha256");
  if (file.empty() || data_sha256_.empty() || file == data_sha256_) return true;
  // The same text may lie in a file with other line ends (ADR 39).
  return !text_sha256_.empty() && (text == text_sha256_ || file == text_sha256_);
}

std::string RunIdentity::difference(const RunConfig& config, const Json& state) const {
  if (!is_own_text(state)) return "its text is another (sha256 differs)";
  if (!config_) return "";
  auto differences = resume_differences(*config_, config);
  if (text_under(state, "data_sha256").empty())  // imported: the first text may come with a second
    std::erase_if(differences, [](const auto& text) { return text.starts_with("data.val_path"); });
  return join(differences, "; ");
}

std::string RunIdentity::difference(const CheckpointRef& ref) const {
  const auto config = config_in(ref.folder);
  return config ? difference(*config, object_in(ref.folder / "state.json")) : "";
}

bool is_sound(const CheckpointRef& ref, const RunIdentity& identity) {
  try {
    const auto info = read_named(ref);
    return identity.difference(info.config, info.state).empty();
  } catch (const CheckpointError&) {
    return false;
  }
}

std::optional<NewestSound> newest_sound(const fs::path& run) {
  const RunIdentity identity(run);
  std::vector<PassedOver> passed_over;
  for (const auto& ref : list_checkpoints(run)) try {
      auto info = read_named(ref);
      const auto difference = identity.difference(info.config, info.state);
      if (difference.empty()) return NewestSound{std::move(info), std::move(passed_over)};
      passed_over.push_back(
          {ref, true, cat(ref.folder.string(), ": is of another run: ", difference)});
    } catch (const CheckpointError& error) {
      std::error_code ignored;
      // Where it was removed meanwhile, the list is out of date.
      if (!fs::exists(ref.folder, ignored) || is_denied(ref.folder)) throw;
      passed_over.push_back({ref, false, error.what()});
    }
  if (!passed_over.empty()) refuse_all(run, passed_over);
  return std::nullopt;
}

std::optional<CheckpointInfo> best_checkpoint(const CheckpointInfo& newest) {
  const auto step = newest.state.value("best_step", Json());
  if (!step.is_number_integer() || step.get<std::int64_t>() < 0) return std::nullopt;
  if (step == newest.ref.step) return newest;
  const auto& run = *newest.ref.run;
  const auto all = list_checkpoints(run);
  const auto found = std::find_if(all.begin(), all.end(),
                                  [&](const CheckpointRef& ref) { return step == ref.step; });
  if (found == all.end() && step == 0) return std::nullopt;  // only imports, --init-from save it
  if (found == all.end())
    throw CheckpointError(cat(run.string(), ": its best step, ", step.get<std::int64_t>(),
                              ", has no checkpoint; ", steps_text(all)));
  auto info = read_named(*found);
  const auto difference = RunIdentity(run).difference(info.config, info.state);
  if (!difference.empty())
    throw CheckpointError(
        cat(found->folder.string(), ": is of another run: ", difference, "; ", steps_text(all)));
  return info;
}

}  // namespace moe
