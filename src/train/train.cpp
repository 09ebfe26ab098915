#include <algorithm>
#include <array>
#include <utility>

#include "moe/base/system.h"
#include "moe/base/text.h"
#include "moe/config/load.h"
#include "train/loop.h"

namespace moe {

namespace {

/// Refuses what may not change between a run and its continuation.
void check_resumable(const RunFolder& folder, const RunConfig& wanted) {
  const auto file = folder.path() / "config.json";
  if (!is_there(file, ErrorKind::resource)) return;
  const auto saved = config_from_json(read_json(file.string(), ErrorKind::config), file.string());
  const auto differences = resume_differences(saved, wanted);
  if (!differences.empty())
    throw ConfigError(cat(folder.path().string(), ": --resume can not change ",
                          join(differences, "; "),
                          "; take these back, or train into another folder"));
}

/// The keys that give the weights their shapes, of those in which two configs differ.
std::vector<std::string> shape_differences(const RunConfig& theirs, const RunConfig& ours) {
  auto keys = resume_differences(theirs, ours);
  std::erase_if(keys, [](std::string_view key) {
    constexpr std::array<std::string_view, 4> kShapes{"model.n_", "model.block_size",
                                                      "model.moe.num_experts", "model.moe.router"};
    return std::ranges::none_of(kShapes, [&](auto shape) { return key.starts_with(shape); });
  });
  return keys;
}

/// The weights of --init-from, laid out as a model of `config` has them. Throws CheckpointError
/// with all differences.
at::Tensor fitting_weights(const CheckpointInfo& other, const RunConfig& config) {
  FlatParameters flat(SparseMoELanguageModel(config.model, other.tokenizer.vocab_size()));
  try {
    load_weights(other.ref, flat);
  } catch (const CheckpointError& error) {
    const auto keys = shape_differences(other.config, config);
    if (keys.empty()) throw;
    throw CheckpointError(cat(error.what(), "\n", join(keys, "\n")));
  }
  return flat.values();
}

/// Where weights and vocabulary come from: a checkpoint of the run itself, to resume from, else the
/// one of --init-from, else neither.
struct Source {
  std::optional<CheckpointInfo> own, other;
};

Source find_source(const TrainRequest& request, Log& log) {
  std::vector<std::string> notices;
  Source source;
  if (request.resume) source.own = newest_sound_checkpoint(request.out, notices);
  for (const auto& notice : notices) log.warn(notice);
  if (!source.own && !request.init_from.empty())
    source.other = read_checkpoint_info(resolve_checkpoint(request.init_from));
  return source;
}

Material read_material_for(const RunConfig& config, const Source& source, Log& log) {
  auto texts = read_texts(config, log);
  if (const auto& own = source.own) {
    const auto where = (own->ref.folder / "state.json").string();
    require_same_texts(texts, read_facts(own->state, where).sums, config);
    return make_material(std::move(texts), own->tokenizer, config);
  }
  if (source.other)
    return make_material(std::move(texts), source.other->tokenizer, config, ErrorKind::checkpoint);
  const auto vocabulary = CharTokenizer::from_text(texts.text.utf8);
  return make_material(std::move(texts), vocabulary, config);
}

/// `process`: what was resident before the text was read [bytes].
TrainRequirements requirements_for(const RunConfig& config, const Material& material,
                                   std::int64_t process) {
  const auto vocab_size = material.tokenizer.vocab_size();
  return {vocab_size, estimate_memory(config, vocab_size, material.size(), process)};
}

/// What a run begins with.
struct Beginning {
  Material material;
  std::optional<CheckpointInfo> own;  // to resume from
  at::Tensor weights;                 // else those of --init-from; undefined without it
};

/// All that can be refused before the run folder is made.
Beginning prepare(const TrainRequest& request, Log& log) {
  const auto& config = request.config;
  const auto process = resident_memory();
  auto source = find_source(request, log);
  auto material = read_material_for(config, source, log);
  check_precision(config);
  check_memory(requirements_for(config, material, process).memory);
  at::Tensor weights;
  if (source.other) weights = fitting_weights(*source.other, config);
  return {std::move(material), std::move(source.own), std::move(weights)};
}

TrainSummary train_in(RunFolder& folder, Beginning beginning, const TrainRequest& request,
                      const InterruptFlag& interrupt, Log& log, FileLayer& files) {
  const auto tokenizer = beginning.material.tokenizer;
  Loop loop(request, std::move(beginning.material), folder, interrupt, log, files);
  const auto& own = beginning.own;
  if (own) loop.resume_from(*own);
  if (own && loop.is_recorded_as_finished()) return loop.summary();
  if (!own && request.resume) folder.cut_back_to(-1);
  log.also_to(folder.path() / "log.txt");
  folder.write_json("config.json", config_to_json(request.config));
  folder.write_json("tokenizer.json", tokenizer.to_json());
  if (beginning.weights.defined()) loop.begin_with(beginning.weights);
  beginning.weights.reset();  // as large as the model
  try {
    return loop.run();
  } catch (...) {
    loop.write_run_json("failed");
    loop.end_tracking();
    throw;
  }
}

}  // namespace

TrainRequirements requirements_of(const TrainRequest& request, Log& log) {
  const auto process = resident_memory();
  const auto material = read_material_for(request.config, find_source(request, log), log);
  return requirements_for(request.config, material, process);
}

TrainSummary train(const TrainRequest& request, const InterruptFlag& interrupt, Log& log,
                   FileLayer& files) {
  if (!request.resume || !is_there(request.out, ErrorKind::resource)) {
    auto beginning = prepare(request, log);
    auto folder = request.out_is_default ? RunFolder::create_next(request.out, files)
                                         : RunFolder::create(request.out, files);
    return train_in(folder, std::move(beginning), request, interrupt, log, files);
  }
  auto folder = RunFolder::open(request.out, files);
  check_resumable(folder, request.config);
  return train_in(folder, prepare(request, log), request, interrupt, log, files);
}

}  // namespace moe
