#include "moe/config/load.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "config/block_rules.h"
#include "config/routing_rules.h"
#include "moe/base/file.h"
#include "moe/base/program.h"
#include "moe/config/visit.h"

namespace moe {

namespace {

using config_detail::nested;
using config_detail::Problems;

constexpr std::size_t kLongestPath = 300;  // [bytes] of one in a message

void add_prefixed(std::string_view where, const Problems& found, Problems& problems) {
  for (const auto& problem : found) problems.push_back(cat(where, ": ", problem));
}

void refuse_any(const Problems& problems) {
  if (!problems.empty()) throw ConfigError(join(problems, "\n"));
}

void resolve_path(Json& path, const fs::path& folder) {
  if (path.is_string() && !path.get_ref<const std::string&>().empty())
    path = absolute_path(folder / path.get<std::string>()).string();
}

/// Makes the paths of a file's "data" absolute, relative to the file.
void resolve_paths(Json& json, const fs::path& folder) {
  const auto data = json.is_object() ? json.find("data") : json.end();
  if (!json.is_object() || data == json.end() || !data->is_object()) return;
  for (const auto* key : {"path", "val_path", "cache"}) {
    const auto found = data->find(key);
    if (found == data->end()) continue;
    if (found->is_array())
      for (auto& name : *found) resolve_path(name, folder);
    else
      resolve_path(*found, folder);
  }
}

/// `where` names the path.
std::string home_problem(std::string_view where, const fs::path& path) {
  return cat(where, printable(path.string(), kLongestPath),
             ": ~ is expanded by the shell alone, and was not here; write the full path");
}

/// A sweep's file is the one kind with a table "space".
bool is_sweep(const Json& json) {
  const auto space = json.find("space");
  return space != json.end() && space->is_object();
}

/// Reads `file` over what it extends over `config`; `chain` holds the files on the way here. What
/// is wrong in them is added to `problems`; a file that does not read at all throws.
void read_file_into(const fs::path& file, std::set<fs::path>& chain, RunConfig& config,
                    Problems& problems) {
  std::error_code ignored;
  const auto canonical = fs::weakly_canonical(file, ignored);
  if (!chain.insert(canonical).second)
    throw ConfigError(cat(file.string(), ": extends itself in a circle; break it"));
  if (has_unexpanded_home(file)) throw ConfigError(home_problem("", file));
  Problems found;
  auto json = read_json(file.string(), ErrorKind::config, {}, &found);
  if (json.is_object()) {
    if (is_sweep(json))
      throw ConfigError(cat(file.string(), ": is the file of a sweep, not a config; run it with: ",
                            command_line({"sweep", "run", file.string()})));
    json.erase("$schema");
    if (const auto base = json.find("extends"); base != json.end()) {
      if (base->is_string())
        read_file_into(file.parent_path() / base->get<std::string>(), chain, config, problems);
      else
        found.push_back(cat("extends: ", shown(*base), " is no path; write one in quotes"));
      json.erase("extends");
    }
  }
  resolve_paths(json, file.parent_path());
  config_detail::read_section(json, "", config, found);
  add_prefixed(file.string(), found, problems);
}

/// JSON where it is JSON; else the text itself, so that names need no quotes on a command line.
Json override_value(const std::string& text) {
  try {
    return parse_json(text, "--set", ErrorKind::config);
  } catch (const Error&) {
    return text;
  }
}

void absolute_data_paths(RunConfig& config, Problems& problems) {
  auto& data = config.data;
  const auto make_absolute = [&](std::string_view key, std::string& path) {
    if (path.empty()) return;
    path = absolute_path(path).string();
    if (has_unexpanded_home(path)) problems.push_back(home_problem(key, path));
  };
  for (auto& path : data.path.all()) make_absolute("data.path: ", path);
  for (auto& path : data.val_path.all()) make_absolute("data.val_path: ", path);
  make_absolute("data.cache: ", data.cache);
}

}  // namespace

namespace {

void add_overrides(RunConfig& config, std::span<const std::string> overrides, Problems& problems) {
  for (const auto& text : overrides) {
    const auto equals = text.find('=');
    if (equals == 0 || equals == std::string::npos) {
      problems.push_back(cat("--set ", printable(text),
                             ": no key and value; give KEY=VALUE, e.g. model.n_layer=4"));
      continue;
    }
    const auto key = text.substr(0, equals);
    if (std::count(key.begin(), key.end(), '.') > 3) {
      problems.push_back(cat("--set ", printable(key), ": unknown key; see ",
                             command_line({"config", "defaults"})));
      continue;
    }
    config_detail::read_section(nested(key, override_value(text.substr(equals + 1))), "", config,
                                problems);
  }
  absolute_data_paths(config, problems);
}

}  // namespace

void apply_overrides(RunConfig& config, std::span<const std::string> overrides) {
  Problems problems;
  add_overrides(config, overrides, problems);
  refuse_any(problems);
}

RunConfig load_config(const std::optional<fs::path>& file, std::span<const std::string> overrides) {
  RunConfig config;
  std::set<fs::path> chain;
  Problems problems;
  if (file) read_file_into(*file, chain, config, problems);
  add_overrides(config, overrides, problems);
  // A value that was refused left its default behind: the rules of several keys still make sense.
  for (auto& problem : config_problems(config)) problems.push_back(std::move(problem));
  refuse_any(problems);
  return config;
}

void require_recordable(const std::string& path) {
  if (!is_utf8(path))
    throw DataError(cat(printable(path, kLongestPath),
                        ": this name is not UTF-8, so that config.json cannot hold it and no "
                        "resume would find the text; rename it, or link to it: ln -s FILE NAME"));
}

Json config_to_json(const RunConfig& config) { return config_detail::member_to_json(config); }

RunConfig config_from_json(const Json& json, std::string_view where) {
  RunConfig config;
  Problems found, problems;
  config_detail::read_section(json, "", config, found);
  for (auto& problem : config_problems(config)) found.push_back(std::move(problem));
  add_prefixed(where, found, problems);
  refuse_any(problems);
  return config;
}

bool is_device_name(std::string_view name) {
  constexpr std::string_view kIndexed = "cuda:";
  constexpr std::size_t kMostDigits = 3;
  if (name == "auto" || name == "cpu" || name == "cuda") return true;
  if (!name.starts_with(kIndexed)) return false;
  const auto index = name.substr(kIndexed.size());
  return !index.empty() && index.size() <= kMostDigits &&
         index.find_first_not_of("0123456789") == index.npos;
}

namespace {

/// Where an MLflow server's address is none that can be called, or holds what must not be in files.
void check_mlflow(const MlflowConfig& mlflow, Problems& problems) {
  const std::string_view uri = mlflow.uri;
  const auto host = uri.find("://") + 3;
  const auto refuse = [&](std::string_view what) {
    problems.push_back(cat("tracking.mlflow.uri: \"", printable(uri), "\" ", what));
  };
  if (mlflow.experiment.empty())
    problems.push_back("tracking.mlflow.experiment: is empty; give a name, e.g. \"makemoe\"");
  if (uri.empty() || uri == "none") return;
  if (!uri.starts_with("http://") && !uri.starts_with("https://"))
    return refuse("is no address of a server; give http://HOST:PORT or https://HOST, or \"none\"");
  if (uri.substr(host, uri.find('/', host) - host).find('@') != std::string_view::npos)
    problems.push_back(
        "tracking.mlflow.uri: holds a user or password, which every file of the run would; give "
        "them as MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD");
}

/// Where a decay times the rate would turn the sign of every weight. A rate above 1 is not the
/// decay's fault: such a run diverges with or without it, and says so.
void check_decay(const std::string& key, double decay, double rate, Problems& problems) {
  if (decay > 1 && rate * decay > 1)
    problems.push_back(cat(key, ": ", decay, " times the learning rate ", rate,
                           " is more than 1, so that each update would turn the sign of "
                           "every weight; lower either"));
}

/// Muon's rates at their largest, which are in proportion to AdamW's `rate`.
void check_muon(const OptimConfig& optim, double rate, Problems& problems) {
  if (optim.kind != OptimizerKind::muon) return;
  const auto& muon = optim.muon;
  const auto peak = muon.learning_rate * (rate / optim.learning_rate);
  const auto check = [&](const std::string& key, const GroupConfig& group, double times) {
    const auto largest = peak * group.learning_rate_scale * times;
    if (largest > kLargestRate)
      problems.push_back(cat("optim.muon.learning_rate: is ", largest, " at the most for ", key,
                             ", more than ", kLargestRate, "; lower it"));
    check_decay(group.weight_decay ? key + ".weight_decay" : "optim.muon.weight_decay",
                group.weight_decay.value_or(muon.weight_decay), largest, problems);
  };
  check("optim.groups.matrix", optim.groups.matrix, 1);
  check("optim.groups.expert", optim.groups.expert, static_cast<double>(muon.every));
}

void check_rates(const OptimConfig& optim, Problems& problems) {
  const auto rate = std::max(optim.learning_rate, optim.schedule.final_learning_rate);
  check_decay("optim.weight_decay", optim.weight_decay, rate, problems);
  check_muon(optim, rate, problems);
  for_each_field<GroupsConfig>([&](const auto& row) {
    const GroupConfig& group = optim.groups.*(row.member);
    const auto key = cat("optim.groups.", row.key);
    const auto scale = group.learning_rate_scale;
    if (rate * scale > kLargestRate)
      problems.push_back(cat(key, ".learning_rate_scale: ", scale, " times the learning rate ",
                             rate, " is more than ", kLargestRate, "; lower either"));
    if (group.weight_decay || scale > 1)
      check_decay(key + ".weight_decay", group.weight_decay.value_or(optim.weight_decay),
                  rate * scale, problems);
  });
}

/// What each key allows alone and their product does not.
void check_products(const RunConfig& config, Problems& problems) {
  const auto& train = config.train;
  check_rates(config.optim, problems);
  constexpr double kMostTokens = 4e18;  // an int64 counts them
  const auto tokens = static_cast<double>(train.max_iters) * static_cast<double>(train.batch_size) *
                      static_cast<double>(train.grad_accumulation) *
                      static_cast<double>(config.model.block_size);
  if (tokens > kMostTokens)
    problems.push_back(cat("train.max_iters: ", train.max_iters,
                           " updates of train.batch_size * train.grad_accumulation * "
                           "model.block_size tokens are ",
                           tokens, " tokens, more than ", kMostTokens, "; lower one of these"));
}

}  // namespace

std::vector<std::string> config_problems(const RunConfig& config) {
  Problems problems;
  const auto& m = config.model;
  check_block(m, problems);
  if (m.moe.num_experts > 0 && m.moe.top_k > m.moe.num_experts)
    problems.push_back(cat("model.moe.top_k: ", m.moe.top_k, " is more than model.moe.num_experts ",
                           m.moe.num_experts, "; lower it"));
  check_routing(m, problems);
  if (config.eval.stride && *config.eval.stride > m.block_size)
    problems.push_back(cat("eval.stride: ", *config.eval.stride, " is more than model.block_size ",
                           m.block_size, ", so that targets would be left out; lower it"));
  if (!is_device_name(config.device))
    problems.push_back(cat("device: \"", printable(config.device),
                           "\" is not a device; give auto, cpu, cuda or cuda:N"));
  if (config.data.tokenizer.empty())
    problems.push_back(
        "data.tokenizer: is empty; give \"char\", \"bpe\" or the path of a tokenizer.json");
  if (config.optim.schedule.warmup_iters > config.train.max_iters)
    problems.push_back(cat("optim.schedule.warmup_iters: ", config.optim.schedule.warmup_iters,
                           " is more than train.max_iters ", config.train.max_iters, "; lower it"));
  check_products(config, problems);
  check_mlflow(config.tracking.mlflow, problems);
  return problems;
}

namespace {

template <Section S>
void collect_differences(const S& saved, const S& wanted, const std::string& path,
                         std::vector<std::string>& out) {
  for_each_field<S>([&](const auto& row) {
    const auto& before = saved.*(row.member);
    const auto& after = wanted.*(row.member);
    const auto here = config_detail::joined_path(path, row.key);
    if constexpr (Section<std::remove_cvref_t<decltype(before)>>) {
      collect_differences(before, after, here, out);
    } else if (before != after && row.on_resume == OnResume::fixed) {
      const auto shown = [](const auto& value) {
        return json_text(config_detail::member_to_json(value));
      };
      out.push_back(cat(here, ": ", shown(before), " in the run, ", shown(after), " now"));
    }
  });
}

}  // namespace

std::vector<std::string> resume_differences(const RunConfig& saved, const RunConfig& wanted) {
  std::vector<std::string> out;
  collect_differences(saved, wanted, "", out);
  // Another name may be that of the same text. None is another split.
  const auto &before = saved.data.val_path, &after = wanted.data.val_path;
  const bool has_learned = !saved.data.path.empty();  // not so where --vocab made it
  if (has_learned && before.empty() != after.empty())
    out.push_back(cat("data.val_path: ", shown(config_detail::names_to_json(before)),
                      " in the run, ", shown(config_detail::names_to_json(after)), " now"));
  return out;
}

}  // namespace moe
