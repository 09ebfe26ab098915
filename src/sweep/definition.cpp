#include "moe/sweep/definition.h"

#include <algorithm>
#include <limits>
#include <map>
#include <utility>
#include <vector>

#include "moe/base/program.h"
#include "moe/base/text.h"
#include "moe/config/load.h"
#include "moe/config/visit.h"
#include "sweep/objective_metric.h"

namespace moe::sweep {

namespace {

using Problems = std::vector<std::string>;

constexpr std::int64_t kMaxTrials = 1000000;
constexpr std::size_t kLongestName = 100;

/// Adds what `action` throws, a problem a line.
template <class Action>
void collect(Problems& problems, std::string_view prefix, Action action) {
  try {
    action();
  } catch (const ConfigError& error) {
    std::string_view text = error.what();
    while (!text.empty()) {
      const auto end = std::min(text.find('\n'), text.size());
      problems.push_back(cat(prefix, text.substr(0, end)));
      text.remove_prefix(std::min(end + 1, text.size()));
    }
  }
}

/// The member `key` of the file, taken out of it; null where there is none.
Json taken(Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end()) return nullptr;
  auto value = std::move(*found);
  json.erase(key);
  return value;
}

/// Takes out what was probably meant as one of the members that are no table of SweepSettings, and
/// what stood twice: the tables' reader would call it unknown.
void take_mistyped(Json& json, Problems& problems) {
  const std::vector<std::string> own{"name", "base", "set", "space", "texts"};
  auto all = config_detail::keys_of<SweepSettings>();
  all.insert(all.end(), own.begin(), own.end());
  Json::object_t left;
  for (const auto& item : json.items()) {
    const auto near = std::string(nearest(item.key(), all));
    if (std::find(own.begin(), own.end(), near) == own.end())
      left.emplace_back(item.key(), item.value());
    else if (near != item.key())
      problems.push_back(cat(printable(item.key()), ": unknown key; did you mean \"", near, "\"?"));
  }
  json = std::move(left);
}

/// The study's name in the journal, and part of the folder's by default.
std::string read_name(const Json& given, const fs::path& file, Problems& problems) {
  const auto name = given.is_null() ? Json(file.stem().string()) : given;
  auto text = name.is_string() ? name.get<std::string>() : std::string();
  if (text.empty() || text.find('/') != std::string::npos || printable(text, kLongestName) != text)
    problems.push_back(cat("name: ", shown(name), " does not fit; give a text of 1 to ",
                           kLongestName, " bytes without \"/\", quotes and control characters"));
  return text;
}

/// Whether the value of this key is a file's name.
bool is_path(std::string_view key) {
  return key == "data.path" || key == "data.val_path" || key == "data.cache";
}

void make_absolute(Json& value, const fs::path& folder) {
  if (value.is_array())
    for (auto& name : value) make_absolute(name, folder);
  if (value.is_string() && !value.get_ref<const std::string&>().empty())
    value = absolute_path(folder / value.get<std::string>()).string();
}

/// Texts to choose from are named relative to the file, as everywhere.
void absolute_choices(Json& space, const fs::path& folder) {
  if (!space.is_object()) return;
  for (auto& item : space.items()) {
    auto& parameter = item.value();
    if (!is_path(item.key()) || !parameter.is_object()) continue;
    const auto choices = parameter.find("choices");
    if (choices != parameter.end() && choices->is_array())
      for (auto& choice : *choices) make_absolute(choice, folder);
  }
}

/// The same of a base that is written out in the file.
Json with_absolute_texts(Json base, const fs::path& folder) {
  if (const auto data = base.find("data"); data != base.end() && data->is_object())
    for (auto& item : data->items())
      if (is_path("data." + item.key())) make_absolute(item.value(), folder);
  return base;
}

RunConfig read_base(const Json& base, const fs::path& folder, Problems& problems) {
  RunConfig config;
  collect(problems, "", [&] {
    if (base.is_string())
      config = load_config((folder / base.get<std::string>()).lexically_normal(), {});
    else if (base.is_object())
      config = config_from_json(with_absolute_texts(base, folder), "base");
    else if (!base.is_null())
      problems.push_back(cat("base: ", shown(base), " is no path; write one in quotes"));
  });
  return config;
}

/// "set": {"train.max_iters": 200}: fixed values over the base.
void apply_set(const Json& set, const fs::path& folder, RunConfig& config, Problems& problems) {
  if (set.is_null()) return;
  if (!set.is_object()) {
    problems.push_back(cat("set: ", shown(set), " is no object; write {\"key\": value}"));
    return;
  }
  for (const auto& item : set.items()) {
    auto value = item.value();
    if (is_path(item.key())) make_absolute(value, folder);
    const auto text = cat(item.key(), "=", json_text(value));
    collect(problems, "set: ", [&] { apply_overrides(config, std::array{text}); });
  }
}

/// What can only be said of a sweep whose parts are sound one by one.
void check_together(const Definition& definition, Problems& problems) {
  const auto& settings = definition.settings;
  for (const auto& problem : config_problems(definition.base))
    problems.push_back(cat("base: ", problem));
  if (definition.base.seed > std::numeric_limits<std::int64_t>::max() - settings.seeds)
    problems.push_back("seeds: the base's seed leaves no room for them; give a smaller seed");
  const bool finite = definition.space.size(0).has_value();
  if (settings.strategy.kind == StrategyKind::grid) {
    for (const auto& parameter : definition.space.parameters())
      if (!parameter.size())
        problems.push_back(cat("space.", parameter.key,
                               ": a grid has no end in a range of numbers; give \"step\" or "
                               "\"choices\", or another strategy.kind"));
  } else if (!settings.budget.trials && !finite) {
    problems.push_back("budget.trials: is missing; say how many trials to run");
  }
  if (settings.seeds > 1 && definition.space.find("seed") != nullptr)
    problems.push_back("seeds: the space has \"seed\" already; remove one of them");
  if (settings.budget.steps && definition.space.find("train.max_iters") != nullptr)
    problems.push_back("budget.steps: the space has \"train.max_iters\"; remove one of them");
}

/// A config where a sweep's file belongs: they have no key in common.
void refuse_config(const Json& json, const fs::path& where) {
  const bool is_config = std::ranges::any_of(config_detail::keys_of<RunConfig>(),
                                             [&](const auto& key) { return json.contains(key); });
  if (is_config && !json.contains("space") && !json.contains("base"))
    throw ConfigError(cat(where.string(),
                          ": is a config, not the file of a sweep; name it there: "
                          "{\"base\": \"",
                          where.filename().string(),
                          "\", \"space\": {...}}, or "
                          "train it with: ",
                          command_line({"train", "--config", where.string()})));
}

/// Where a definition is read from. What one in a sweep's folder measures was checked when the
/// sweep began, by the version of that time.
enum class DefinitionSource { user, folder };

/// {path: sha256}, as sweep.json has it.
TextSums read_texts(const Json& given, Problems& problems) {
  TextSums sums;
  if (given.is_null()) return sums;
  if (!given.is_object()) problems.push_back(cat("texts: ", shown(given), " is no object"));
  for (const auto& item : given.items())
    if (item.value().is_string()) sums[item.key()] = item.value().get<std::string>();
  return sums;
}

/// Everything but the texts' presence. The file's name begins each problem.
Definition parse_definition(const fs::path& where, const std::string& data,
                            DefinitionSource source) {
  Definition out;
  Problems problems;
  auto json = read_json(where.string(), ErrorKind::config, {}, &problems);
  if (!json.is_object())
    throw ConfigError(cat(where.string(), ": ", shown(json), " is no object; write {...}"));
  json.erase("$schema");
  refuse_config(json, where);
  out.name = read_name(taken(json, "name"), where, problems);
  out.base = read_base(taken(json, "base"), where.parent_path(), problems);
  apply_set(taken(json, "set"), where.parent_path(), out.base, problems);
  if (!data.empty()) out.base.data.path = absolute_path(data).string();
  out.space_json = taken(json, "space");
  absolute_choices(out.space_json, where.parent_path());
  out.space = Space::parse(out.space_json, problems);
  out.texts = read_texts(taken(json, "texts"), problems);
  take_mistyped(json, problems);
  config_detail::read_section(json, "", out.settings, problems);
  if (out.settings.budget.steps) out.base.train.max_iters = *out.settings.budget.steps;
  out.space.check_keys(out.base, problems);
  if (problems.empty()) check_together(out, problems);
  if (problems.empty() && source == DefinitionSource::user) check_metric(out, problems);
  Problems found;
  for (const auto& problem : problems) found.push_back(cat(where.string(), ": ", problem));
  if (!found.empty()) throw ConfigError(join(found, "\n"));
  return out;
}

/// Whether DIR holds anything but a sweep, or the beginning of one.
bool holds_something_else(const fs::path& dir) {
  std::error_code ignored;
  if (fs::exists(dir, ignored) && !fs::is_directory(dir, ignored)) return true;
  bool other = false;
  for (const auto& entry : fs::directory_iterator(dir, ignored)) {
    const auto name = entry.path().filename().string();
    other = other || !(name.starts_with("sweep.json.lock") || name.starts_with(kTemporaryPrefix));
  }
  return other && !fs::exists(dir / "sweep.json", ignored);
}

/// "key: before in the sweep, after now" for each value that differs.
std::vector<std::string> differences_between(const Json& saved, const Json& wanted) {
  const auto leaves = [](const Json& json) {
    std::map<std::string, Json> out;
    const auto flat = json.flatten();
    for (const auto& item : flat.items()) out[item.key()] = item.value();
    return out;
  };
  const auto before = leaves(saved), after = leaves(wanted);
  const auto text_in = [](const auto& map, const std::string& key) {
    const auto found = map.find(key);
    return found == map.end() ? std::string("absent") : shown(found->second);
  };
  auto all = before;
  all.insert(after.begin(), after.end());
  std::vector<std::string> out;
  for (const auto& [key, ignored] : all) {
    const auto was = before.find(key), is = after.find(key);
    const bool same = was != before.end() && is != after.end() && was->second == is->second;
    if (!same)
      out.push_back(
          cat(key, ": ", text_in(before, key), " in the sweep, ", text_in(after, key), " now"));
  }
  return out;
}

/// What keeps the sweep in DIR from being continued as `wanted`.
void require_same(const fs::path& dir, const Definition& saved, const Definition& wanted) {
  if (const auto changed = changed_texts(saved.texts, wanted.texts); !changed.empty())
    throw DataError(cat(join(changed, ", "), ": is not the text that the sweep in ", dir.string(),
                        " began with (its sha256 differs); put that text back, name another folder "
                        "with --out, or continue all the same with --allow-changes"));
  auto before = definition_to_json(saved), now = definition_to_json(wanted);
  for (auto* json : {&before, &now}) json->erase("texts");
  if (const auto differences = differences_between(before, now); !differences.empty())
    throw ConfigError(cat(dir.string(),
                          ": holds a sweep of another file: ", join(differences, "; "),
                          "; take these back, name another folder with --out, or continue all the "
                          "same with --allow-changes"));
}

}  // namespace

std::int64_t Definition::trials() const {
  const auto limit = settings.budget.trials.value_or(kMaxTrials);
  const auto points = space.size(limit);
  return points ? std::min(limit, *points * settings.seeds) : limit;
}

Definition load_definition(const fs::path& file, const std::string& data) {
  auto definition = parse_definition(file, data, DefinitionSource::user);
  const auto given = std::exchange(definition.texts, sum_texts(definition.base, definition.space));
  if (const auto changed = changed_texts(given, definition.texts); !changed.empty())
    throw DataError(cat(join(changed, ", "), ": is not the text that ", file.string(),
                        " names by its sha256; put that text back, or take \"texts\" out of the "
                        "file"));
  return definition;
}

Json definition_to_json(const Definition& definition) {
  Json out = {{"name", definition.name},
              {"base", config_to_json(definition.base)},
              {"space", definition.space_json}};
  out.update(config_detail::member_to_json(definition.settings));
  if (!definition.texts.empty()) out["texts"] = definition.texts;
  return out;
}

Definition read_definition(const fs::path& dir) {
  const auto file = dir / "sweep.json";
  if (!is_there(file, ErrorKind::config))
    throw ConfigError(cat(dir.string(),
                          ": is no sweep (it has no sweep.json); name the folder of a "
                          "sweep, or start one with ",
                          command_line({"sweep", "run", "FILE"})));
  return parse_definition(file, "", DefinitionSource::folder);
}

void open_sweep(const fs::path& dir, const Definition& definition, bool allow_changes,
                FileLayer& files, const LongWait& wait) {
  const auto refuse_other = [&] {
    if (holds_something_else(dir))
      throw ResourceError(
          cat(dir.string(), ": already holds something else; name another folder with --out"));
  };
  refuse_other();  // before anything is written there
  files.make_folder(dir);
  const auto file = dir / "sweep.json";
  const JournalLock lock(file, wait);
  refuse_other();
  const auto wanted = json_text(definition_to_json(definition), 2) + "\n";
  std::error_code ignored;
  if (fs::exists(file, ignored)) {
    if (!allow_changes) require_same(dir, read_definition(dir), definition);
    if (read_file(file, ErrorKind::config) == wanted) return;
  }
  files.replace(file, wanted);
}

std::string describe_settings() {
  std::string out;
  config_detail::describe(SweepSettings{}, "", out);
  return out;
}

}  // namespace moe::sweep
