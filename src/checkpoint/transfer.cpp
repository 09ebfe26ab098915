#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

#include "checkpoint/weights.h"
#include "moe/base/text.h"
#include "moe/checkpoint/checkpoint.h"
#include "moe/config/load.h"
#include "moe/store/ngrams.h"

namespace moe {

namespace {

/// A checkpoint that does not read back is the disk's fault, or its folder was taken away.
void read_back(const fs::path& folder) {
  try {
    verify_manifest(folder);
  } catch (const CheckpointError& error) {
    throw ResourceError(cat(error.what(), " (it was just written; check the disk)"));
  }
}

/// Published views of a flat buffer.
std::vector<NamedTensor> views(const FlatParameters& parameters, const at::Tensor& flat) {
  std::vector<NamedTensor> out;
  for (const auto& tensor : parameters.layout())
    out.push_back({tensor.name, FlatParameters::view(flat, tensor)});
  return out;
}

/// The keys of the n-gram tables as tensors, (R, n) int64, in memory of their own: a file that is
/// about to be written only points at it.
std::vector<NamedTensor> key_tensors(const FlatParameters& parameters) {
  std::vector<NamedTensor> out;
  for (const auto& keys : parameters.ngrams()) {
    auto tensor = at::empty({keys.rows(), keys.order}, at::kLong);
    std::ranges::copy(keys.symbols, tensor.mutable_data_ptr<std::int64_t>());
    out.push_back({ngram_keys_name(keys.order), std::move(tensor)});
  }
  return out;
}

/// What model.safetensors holds: the weights, and the keys of tables.
std::vector<NamedTensor> model_tensors(const FlatParameters& parameters, const at::Tensor& flat,
                                       const std::vector<NamedTensor>& keys) {
  auto out = views(parameters, flat);
  out.insert(out.end(), keys.begin(), keys.end());
  return out;
}

/// Reads a file with weights. Keys are a part of the model: rows of other runs are other rows.
std::string read_model(const fs::path& path, FlatParameters& flat, const ReadRules& rules) {
  auto target = views(flat, flat.values());
  auto keys = key_tensors(flat);
  std::vector<NamedTensor> wanted;
  for (const auto& one : keys) {
    wanted.push_back({one.name, one.tensor.clone()});
    target.push_back({one.name, one.tensor});
  }
  auto prefix = read_tensors(path, target, rules);
  for (std::size_t i = 0; i < keys.size(); ++i)
    if (!at::equal(keys[i].tensor, wanted[i].tensor))
      throw CheckpointError(cat(path.string(), ": \"", keys[i].name,
                                "\" are other keys than the model's, which come from its own "
                                "text; use weights with those"));
  return prefix;
}

/// What optimizer.safetensors holds of an optimizer, or of a copy of it on the CPU.
struct OptimizerFile {
  std::vector<OptimizerState> state;
  at::Tensor steps;  // () int64
  // With an average: the weights to train on, laid out as all, since those of model.safetensors are
  // others; how many updates it holds, () int64. Else undefined.
  at::Tensor trained, averaged_steps;
};

/// The count, and a view for each parameter that something is kept of.
std::vector<NamedTensor> views_of_state(const FlatParameters& parameters,
                                        const OptimizerFile& file) {
  std::vector<NamedTensor> out;
  if (file.trained.defined()) {
    out.push_back({"averaged_steps", file.averaged_steps});
    for (const auto& tensor : parameters.trained_layout())
      if (file.state.back().of({tensor.offset, tensor.numel()}).defined())
        out.push_back({"trained." + tensor.name, FlatParameters::view(file.trained, tensor)});
  }
  for (const auto& part : file.state)
    for (const auto& tensor : parameters.trained_layout())
      if (const auto values = part.of({tensor.offset, tensor.numel()}); values.defined())
        out.push_back({part.name + "." + tensor.name, values.view(tensor.shape)});
  out.push_back({"step", file.steps});
  return out;
}

std::vector<OptimizerState> on_cpu(std::vector<OptimizerState> state) {
  for (auto& part : state) part.values = part.values.cpu();
  return state;
}

/// A count of updates, which still counts up.
std::int64_t count_of(const at::Tensor& steps, const CheckpointRef& ref) {
  constexpr auto kMost = std::numeric_limits<std::int64_t>::max() / 2;
  const auto step = steps.item<std::int64_t>();
  if (step < 0 || step > kMost)
    throw CheckpointError(cat(ref.folder.string(), ": the optimizer's step is ",
                              step < 0 ? "negative" : "out of range", "; use another checkpoint"));
  return step;
}

std::vector<std::string_view> bytes_of(const CheckpointFile& file) {
  std::vector<std::string_view> pieces;
  for (const auto& piece : file.pieces) pieces.push_back(piece.bytes);
  return pieces;
}

void publish_files(const fs::path& folder, const std::vector<CheckpointFile>& files,
                   FileLayer& layer) {
  for (const auto& file : files) {
    layer.write_file(folder / file.name, bytes_of(file));
  }
  layer.sync_folder(folder);
}

std::string step_name(std::int64_t step) {
  const auto digits = std::to_string(step);
  return "step-" + std::string(digits.size() < 8 ? 8 - digits.size() : 0, '0') + digits;
}

/// Temporary folder, then one rename; an older checkpoint of the same step is replaced.
void publish(const fs::path& checkpoints, std::int64_t step,
             const std::vector<CheckpointFile>& files, FileLayer& layer) {
  const auto name = step_name(step);
  // Names of their own: a left-over that cannot be removed stands in nobody's way.
  const auto temporary = temporary_next_to(checkpoints / name);
  const auto aside = temporary_next_to(checkpoints / ("old-" + name));
  const auto target = checkpoints / name;
  // One that was moved away meanwhile is not made a second time under its old name.
  if (const auto run = checkpoints.parent_path(); !is_folder(run, ErrorKind::resource))
    throw ResourceError(cat(run.string(), ": is gone; look where it was moved to"));
  try {
    layer.make_folder(checkpoints);
    layer.make_folder(temporary);
    publish_files(temporary, files, layer);
    read_back(temporary);  // before anything that exists is touched
    // An older one of this step steps aside whole: a crash never leaves half of it under its name.
    const bool replaces = is_there(target, ErrorKind::resource);
    if (replaces) layer.rename(target, aside);
    layer.rename(temporary, target);
    layer.sync_folder(checkpoints);
    if (replaces) layer.tidy(aside);
  } catch (const Error&) {
    std::error_code ignored;
    fs::remove_all(temporary, ignored);
    throw;
  }
}

}  // namespace

void load_weights(const CheckpointRef& ref, FlatParameters& flat, WeightValues values) {
  read_model(ref.folder / "model.safetensors", flat,
             {.allows_nonfinite = values == WeightValues::any});
}

void load_optimizer(const CheckpointRef& ref, FlatParameters& flat, Optimizer& optimizer) {
  OptimizerFile file{optimizer.state(), at::zeros({}, at::kLong), {}, at::zeros({}, at::kLong)};
  if (optimizer.has_average()) file.trained = flat.values();
  auto target = views_of_state(flat, file);
  read_tensors(ref.folder / "optimizer.safetensors", target);
  optimizer.steps = count_of(file.steps, ref);
  optimizer.averaged_steps = count_of(file.averaged_steps, ref);
}

void save_checkpoint(const fs::path& run, std::int64_t step, const FlatParameters& flat,
                     const Optimizer& optimizer, const Json& state, const RunConfig& config,
                     const Tokenizer& tokenizer, bool is_best, FileLayer& files) {
  OptimizerFile file{on_cpu(optimizer.state()),
                     at::full({}, optimizer.steps, at::kLong),
                     {},
                     at::full({}, optimizer.averaged_steps, at::kLong)};
  auto values = flat.values();
  if (optimizer.has_average()) {
    file.trained = values.cpu();
    values = values.clone();
    optimizer.blend(values);
  }
  values = values.cpu();
  const auto keys = key_tensors(flat);
  std::string model_header, optimizer_header;
  std::vector<CheckpointFile> content;
  content.push_back(
      safetensors_file("model.safetensors", model_tensors(flat, values, keys), model_header));
  content.push_back(
      safetensors_file("optimizer.safetensors", views_of_state(flat, file), optimizer_header));
  const auto state_text = json_text(state, 2) + "\n";
  const auto config_text = json_text(config_to_json(config), 2) + "\n";
  const auto tokenizer_text = json_text(tokenizer.to_json(), 2) + "\n";
  content.push_back({"state.json", {{"", state_text}}});
  content.push_back({"config.json", {{"", config_text}}});
  content.push_back({"tokenizer.json", {{"", tokenizer_text}}});
  const auto manifest = make_manifest(step, content);
  content.push_back({"manifest.json", {{"", manifest}}});
  const auto checkpoints = run / "checkpoints";
  publish(checkpoints, step, content, files);
  if (is_best) files.replace(checkpoints / "best", step_name(step) + "\n");
  files.replace(checkpoints / "last", step_name(step) + "\n");
}

std::string import_weights(const fs::path& safetensors, FlatParameters& flat, WeightValues values) {
  ReadRules rules{.converts = true,
                  .ignores_tril = true,
                  .strips_prefix = true,
                  .allows_nonfinite = values == WeightValues::any};
  for (const auto& row : flat.table().rows())
    if (!row.second_name.empty()) rules.second_names[row.second_name] = row.name;
  rules.hints["lm_head.weight"] = " (of tied weights, set model.tied to true)";
  return read_model(safetensors, flat, rules);
}

void export_weights(const FlatParameters& flat, const ModelConfig& config,
                    const std::function<void(Pieces)>& write) {
  const auto keys = key_tensors(flat);
  auto tensors = model_tensors(flat, flat.values().cpu(), keys);
  for (const auto& row : flat.table().rows()) {
    if (row.second_name.empty()) continue;
    auto same = std::ranges::find(tensors, row.name, &NamedTensor::name)->tensor;
    tensors.push_back({row.second_name, std::move(same)});
  }
  const auto tril = at::ones({config.block_size, config.block_size}).tril();
  for (std::int64_t layer = 0; layer < config.n_layer; ++layer)
    for (std::int64_t head = 0; head < config.n_head; ++head)
      tensors.push_back({cat("blocks.", layer, ".sa.heads.", head, ".tril"), tril});
  std::string header;
  const auto file = safetensors_file("", std::move(tensors), header);
  write(bytes_of(file));
}

}  // namespace moe
