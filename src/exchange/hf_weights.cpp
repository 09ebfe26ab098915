#include "moe/exchange/hf_weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

#include "exchange/tensor_parts.h"
#include "moe/base/json.h"
#include "moe/base/path.h"
#include "moe/base/text.h"
#include "moe/exchange/ggml_type.h"
#include "moe/spec/parameter_table.h"

namespace moe {

namespace {

constexpr const char* kOneFile = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

[[noreturn]] void refuse_index(const fs::path& index, const std::string& what) {
  throw CheckpointError(cat(index.string(), ": ", what, "; get the folder again, whole"));
}

/// What a folder without safetensors files has instead, and what to do.
[[noreturn]] void refuse_without_weights(const fs::path& folder) {
  for (const auto* name : {"pytorch_model.bin", "pytorch_model.bin.index.json"})
    if (is_there(folder / name, ErrorKind::checkpoint))
      throw CheckpointError(
          cat(folder.string(), ": has its weights as ", name,
              ", which runs code when it is read; save them as safetensors: "
              "AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(NEW)"));
  throw CheckpointError(cat(folder.string(), ": has neither ", kOneFile, " nor ", kIndex,
                            "; give a folder of transformers"));
}

bool is_plain_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == name.npos &&
         name.find('\0') == name.npos && name.ends_with(".safetensors");
}

std::size_t value_bytes(const std::string& dtype) {
  if (dtype == "F64") return 8;
  if (dtype == "F32") return 4;
  return dtype == "F16" || dtype == "BF16" ? 2 : 0;
}

float value_at(const std::string& dtype, const char* bytes) {
  if (dtype == "F64") {
    double value = 0;
    std::memcpy(&value, bytes, sizeof value);
    return static_cast<float>(value);
  }
  if (dtype == "F32") {
    float value = 0;
    std::memcpy(&value, bytes, sizeof value);
    return value;
  }
  std::uint16_t bits = 0;
  std::memcpy(&bits, bytes, sizeof bits);
  return dtype == "F16" ? float16_value(bits) : bfloat16_value(bits);
}

/// Tensors that say nothing new: angles of positions, and experts by a hash.
bool is_derived(const std::string& name) {
  return name.ends_with("rotary_emb.inv_freq") || name.ends_with(".smoe.router.hashed") ||
         (name.starts_with("ngram.") && name.ends_with(".keys"));
}

}  // namespace

FolderWeights::FolderWeights(const fs::path& folder) : folder_(folder) {
  if (is_there(folder / kIndex, ErrorKind::checkpoint))
    add_files_of_index(folder / kIndex);
  else if (is_there(folder / kOneFile, ErrorKind::checkpoint))
    add_file(folder / kOneFile);
  else
    refuse_without_weights(folder);
}

void FolderWeights::add_file(const fs::path& path) {
  auto file = std::make_unique<FileReader>(path, ErrorKind::checkpoint);
  auto header = read_safetensors(*file, path.string());
  shards_.push_back({path, std::move(file), header.data_begin});
  for (auto& info : header.tensors) {
    const auto name = info.name;
    if (!places_.emplace(name, Place{shards_.size() - 1, std::move(info)}).second)
      throw CheckpointError(cat(path.string(), ": tensor \"", printable(name, 200),
                                "\" is in another file of the folder too; get the folder again, "
                                "whole"));
  }
}

void FolderWeights::add_files_of_index(const fs::path& index) {
  constexpr std::size_t kMostFiles = 1000;
  const auto json = read_json(index.string(), ErrorKind::checkpoint);
  if (!json.is_object() || !json.contains("weight_map") || !json.at("weight_map").is_object())
    refuse_index(index, "has no object \"weight_map\"");
  std::set<std::string> files;
  const auto& map = json.at("weight_map");
  for (const auto& [tensor, file] : map.items()) {
    if (!file.is_string() || !is_plain_name(file.get_ref<const std::string&>()))
      refuse_index(index, cat("tensor \"", printable(tensor, 200), "\" is in ", shown(file),
                              ", which is no .safetensors file beside it"));
    files.insert(file.get<std::string>());
  }
  if (files.size() > kMostFiles) refuse_index(index, cat("names ", files.size(), " files"));
  for (const auto& file : files) add_file(folder_ / file);
  for (const auto& [tensor, file] : map.items())
    if (!has(tensor) || file_of(tensor).filename() != file.get_ref<const std::string&>())
      refuse_index(index, cat("tensor \"", printable(tensor, 200), "\" is not in ", shown(file)));
}

std::vector<std::string> FolderWeights::names() const {
  std::vector<std::string> out;
  for (const auto& [name, place] : places_) out.push_back(name);
  return out;
}

const fs::path& FolderWeights::file_of(const std::string& name) const {
  return shards_[places_.at(name).shard].path;
}

std::uint64_t FolderWeights::bytes() const {
  std::uint64_t sum = 0;
  for (const auto& [name, place] : places_) sum += place.info.end - place.info.begin;
  return sum;
}

bool FolderWeights::read(const std::string& name, std::span<float> to) const {
  const auto& place = places_.at(name);
  const auto& shard = shards_[place.shard];
  const auto& info = place.info;
  const auto size = value_bytes(info.dtype);
  std::size_t at = 0;
  bool finite = true;
  shard.file->read_blocks(shard.data_begin + info.begin, shard.data_begin + info.end,
                          [&](std::string_view bytes) {
                            for (std::size_t i = 0; i + size <= bytes.size(); i += size) {
                              to[at] = value_at(info.dtype, bytes.data() + i);
                              finite = finite && std::isfinite(to[at++]);
                            }
                          });
  return finite;
}

std::vector<ForeignTensor> published_tensors(const ModelSpec& spec) {
  const ParameterTable table(spec);
  std::vector<ForeignTensor> out;
  for (const auto& piece : table.published()) {
    const auto& shape = table.rows()[piece.row].piece_shape;
    out.push_back({piece.name, shape, {}});
    out.back().parts.push_back({{piece.name}, out.back().numel(), 1});
  }
  return out;
}

void require_tensors(const FolderWeights& weights, const std::vector<ForeignTensor>& wanted,
                     bool tied, std::string_view where) {
  std::vector<std::string> problems;
  std::set<std::string> known;
  for (const auto& tensor : wanted) {
    const auto quoted = cat("  \"", tensor.name, "\": ");
    known.insert(tensor.name);
    if (!weights.has(tensor.name)) {
      problems.push_back(quoted + "missing");
      continue;
    }
    const auto& found = weights.info(tensor.name);
    if (found.shape != tensor.shape)
      problems.push_back(cat(quoted, "shape ", shape_text(found.shape), ", config.json wants ",
                             shape_text(tensor.shape)));
    else if (value_bytes(found.dtype) == 0)
      problems.push_back(cat(quoted, "dtype ", found.dtype, "; F64, F32, F16 and BF16 are read"));
  }
  for (const auto& name : weights.names())
    if (!known.contains(name) && !is_derived(name) && !(tied && name == "lm_head.weight"))
      problems.push_back(cat("  \"", printable(name, 200), "\": the model has no such tensor"));
  if (!problems.empty())
    throw CheckpointError(cat(where, ": ", problems.size(),
                              " differences between the weights and config.json; get the folder "
                              "again, whole\n",
                              join(problems, "\n")));
}

namespace {

/// A tensor's values; an error where they are not finite and not allowed.
std::vector<float> checked_values(const FolderWeights& weights, const std::string& name,
                                  std::size_t count, bool allows_nonfinite,
                                  std::string_view where) {
  std::vector<float> values(count);
  if (!weights.read(name, values) && !allows_nonfinite)
    throw CheckpointError(cat(where, ": NaN or infinity in \"", printable(name, 200),
                              "\"; use other weights, or let them in with --allow-nonfinite"));
  return values;
}

void require_tied(const FolderWeights& weights, const ForeignTensor& table,
                  std::string_view where) {
  const std::string head = "lm_head.weight";
  if (!weights.has(head)) return;
  const auto count = static_cast<std::size_t>(table.numel());
  std::vector<float> first(count), second(count);
  const bool same_shape =
      weights.info(head).shape == table.shape && value_bytes(weights.info(head).dtype) > 0;
  if (same_shape) {
    weights.read(table.name, first);
    weights.read(head, second);
  }
  if (!same_shape || std::memcmp(first.data(), second.data(), count * sizeof(float)) != 0)
    throw CheckpointError(
        cat(where, ": \"", head, "\" has other values than \"", table.name,
            "\", which config.json ties it to; set tie_word_embeddings to false"));
}

}  // namespace

void read_weights(const FolderWeights& weights, const std::vector<ForeignTensor>& wanted, bool tied,
                  bool allows_nonfinite, std::string_view where, const PlaceOf& ours) {
  if (tied) require_tied(weights, wanted.front(), where);
  for (const auto& tensor : wanted) {
    const auto values = checked_values(
        weights, tensor.name, static_cast<std::size_t>(tensor.numel()), allows_nonfinite, where);
    const auto is_zero = [](float value) { return value == 0; };
    if (tensor.parts.empty() && !std::ranges::all_of(values, is_zero))
      throw CheckpointError(cat(where, ": \"", tensor.name,
                                "\" is not 0 everywhere, and the model's section says that it has "
                                "no such values; remove the section \"makemoe\" of config.json"));
    scatter(tensor, values, ours);
  }
}

}  // namespace moe
