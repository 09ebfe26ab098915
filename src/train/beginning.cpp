#include "train/beginning.h"

#include <algorithm>
#include <array>
#include <utility>

#include "moe/base/path.h"
#include "moe/base/system.h"
#include "moe/base/text.h"
#include "moe/checkpoint/checkpoint.h"
#include "moe/config/load.h"
#include "moe/config/spec_of.h"
#include "moe/model/flat.h"
#include "moe/spec/parameter_table.h"
#include "moe/train/state.h"

namespace moe {

namespace {

/// Refuses what may not change between a run and its continuation.
void check_resumable(const fs::path& run, const RunConfig& saved, const RunConfig& wanted) {
  const auto differences = resume_differences(saved, wanted);
  if (!differences.empty())
    throw ConfigError(cat(run.string(), ": --resume cannot change ", join(differences, "; "),
                          "; take these back, or train into another folder"));
}

/// Whether a dense layer is as wide as the experts of a token together.
bool is_wide_by_top_k(const RunConfig& config) {
  return !config.model.moe.dense_layers.empty() && !config.model.moe.dense_width;
}

/// The keys that give the weights their shapes, of those in which two configs differ.
std::vector<std::string> shape_differences(const RunConfig& theirs, const RunConfig& ours) {
  auto keys = resume_differences(theirs, ours);
  const bool top_k_counts = is_wide_by_top_k(theirs) || is_wide_by_top_k(ours);
  std::erase_if(keys, [&](std::string_view key) {
    if (key.starts_with("model.moe.router_init_std")) return true;
    if (key.starts_with("model.moe.top_k")) return !top_k_counts;
    constexpr std::string_view kShapes[]{"model.n_",
                                         "model.block_size",
                                         "model.moe.num_experts",
                                         "model.moe.router",
                                         "model.moe.hash_layers",
                                         "model.moe.balance",
                                         "model.moe.activation",
                                         "model.moe.expert_width",
                                         "model.moe.shared_",
                                         "model.moe.dense_",
                                         "model.norm",
                                         "model.positions",
                                         "model.qk_norm",
                                         "model.short_conv",
                                         "model.x0_shortcut",
                                         "model.ngram.orders",
                                         "model.value_residual",
                                         "model.bias",
                                         "model.tied"};
    return std::ranges::none_of(kShapes, [&](auto shape) { return key.starts_with(shape); });
  });
  return keys;
}

std::string shape_problem(const CheckpointInfo& other, const std::vector<std::string>& keys) {
  return cat(other.ref.folder.string(),
             ": its weights have other shapes than the config asks for; take these back, or name "
             "another checkpoint\n",
             join(keys, "\n"));
}

bool has_same_tensors(const CheckpointInfo& other, const RunConfig& config) {
  const ParameterTable theirs(spec_of(other.config.model, other.vocabulary()));
  const ParameterTable ours(spec_of(config.model, other.vocabulary()));
  return std::ranges::equal(theirs.rows(), ours.rows(), [](const auto& a, const auto& b) {
    return a.name == b.name && a.shape == b.shape;
  });
}

/// Without a model to fill, for --dry-run.
void require_same_shapes(const CheckpointInfo& other, const RunConfig& config) {
  if (has_same_tensors(other, config)) return;
  if (const auto keys = shape_differences(other.config, config); !keys.empty())
    throw CheckpointError(shape_problem(other, keys));
}

/// The weights of --init-from, laid out as a model of `config` has them. Throws CheckpointError
/// with the keys that differ, and with some of the tensors.
at::Tensor fitting_weights(const CheckpointInfo& other, const RunConfig& config) {
  FlatParameters flat(SparseMoELanguageModel(config.model, other.vocabulary()));
  try {
    load_weights(other.ref, flat);
  } catch (const WeightsMismatch& error) {
    const auto keys = shape_differences(other.config, config);
    if (keys.empty()) throw;
    throw CheckpointError(shape_problem(other, keys) + error.few());
  }
  return flat.values();
}

/// The checkpoint to continue from; says which newer ones cannot be.
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

/// Where weights and vocabulary come from: a checkpoint of the run itself, to continue from, else
/// the one of --init-from, else neither.
struct StartingPoint {
  std::optional<NewestSound> own;
  std::optional<CheckpointInfo> other;
};

StartingPoint find_starting_point(const TrainRequest& request, Log& log) {
  StartingPoint start;
  if (request.resume) start.own = find_beginning(request.out, request.config, log);
  if (!start.own && !request.init_from.empty()) start.other = load_noticed(request.init_from, log);
  return start;
}

/// The tokenizer comes with the weights. A config that tells of another kind would be wrong.
void require_same_kind(const CheckpointInfo& other, const RunConfig& config) {
  const bool is_char = other.tokenizer.kind() == TokenizerKind::character;
  if (is_char == (config.data.tokenizer == "char")) return;
  throw ConfigError(cat("data.tokenizer: \"", printable(config.data.tokenizer), "\" is not what ",
                        other.ref.folder.string(), " was trained with; give ",
                        is_char ? "\"char\"" : "\"bpe\"", ", or name another checkpoint"));
}

Material read_material_for(const RunConfig& config, const StartingPoint& start, Log& log,
                           const TokenPlace* place) {
  if (!start.own && !start.other) return read_material(config, log, place);
  auto texts = read_texts(config, log, place);
  const auto& info = start.own ? start.own->info : *start.other;
  if (start.other) require_same_kind(info, config);
  DataSums learned;
  if (start.own) learned = read_facts(info.state, (info.ref.folder / "state.json").string()).sums;
  auto material = make_material(std::move(texts), info.tokenizer,
                                {config, log, place, start.own ? &learned : nullptr,
                                 start.own ? ErrorKind::data : ErrorKind::checkpoint});
  material.ngrams = info.ngrams;
  return material;
}

/// data.cache, or a folder beside the run's: its own must be empty when it begins.
fs::path folder_of_tokens(const TrainRequest& request) {
  if (!request.config.data.cache.empty()) return request.config.data.cache;
  return absolute_path(request.out).parent_path() / ".tokens";
}

/// `process`: what was resident before the text was read [bytes].
TrainRequirements requirements_for(const RunConfig& config, const Material& material,
                                   const TextSize& size, std::int64_t process) {
  return {material.vocabulary(), estimate_memory(config, material.vocabulary(), size, process)};
}

/// Of texts that were held here, as a run will have them.
TextSize size_in_a_run(const RunConfig& config, const Material& material) {
  auto size = material.size();
  if (!stay_on_disk(config.data, static_cast<std::uint64_t>(size.bytes))) return size;
  size.bytes = kMakingIds;
  size.held = 0;
  return size;
}

}  // namespace

std::optional<RunConfig> saved_config(const fs::path& run) {
  const auto file = run / "config.json";
  if (!is_there(file, ErrorKind::resource)) return std::nullopt;
  return config_from_json(read_json(file.string(), ErrorKind::config), file.string());
}

Beginning prepare(const TrainRequest& request, Log& log, FileLayer& files) {
  const auto& config = request.config;
  const auto process = resident_memory();
  auto start = find_starting_point(request, log);
  const TokenPlace place{folder_of_tokens(request), files};
  auto material = read_material_for(config, start, log, &place);
  check_precision(config);
  check_memory(requirements_for(config, material, material.size(), process).memory);
  at::Tensor weights;
  if (start.other) {
    std::vector<std::string> known;  // notices that were given already
    load_checkpoint(request.init_from, known,
                    [&](const CheckpointInfo& info) { weights = fitting_weights(info, config); });
  }
  return {std::move(material), std::move(start.own), std::move(weights)};
}

TrainRequirements requirements_of(const TrainRequest& request, Log& log) {
  const auto process = resident_memory();
  const auto start = find_starting_point(request, log);
  const auto material = read_material_for(request.config, start, log, nullptr);
  if (start.other) require_same_shapes(*start.other, request.config);
  return requirements_for(request.config, material, size_in_a_run(request.config, material),
                          process);
}

}  // namespace moe
