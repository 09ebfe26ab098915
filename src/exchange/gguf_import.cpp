#include <algorithm>
#include <cmath>
#include <map>

#include "exchange/gguf_describe.h"
#include "exchange/tensor_parts.h"
#include "moe/base/text.h"
#include "moe/config/load.h"
#include "moe/config/spec_of.h"
#include "moe/exchange/gguf_model.h"
#include "moe/exchange/gguf_tokenizer.h"

namespace moe {

namespace {

constexpr std::string_view kOwnConfig = "makemoe.config";

/// The ranges of keys, and the rules between them, hold for other people's models too.
ModelConfig checked_config(const Json& json, std::string_view where) {
  try {
    const auto config = config_from_json(json, where);
    if (const auto problems = config_problems(config); !problems.empty())
      throw ConfigError(cat(where, ": ", join(problems, "\n")));
    return config.model;
  } catch (const ConfigError& error) {
    throw CheckpointError(error.what());
  }
}

ModelConfig read_model_config(const GgufHeader& header, const GgufValues& values,
                              std::string_view where) {
  if (const auto own = values.text(std::string(kOwnConfig))) {
    const auto from = cat(where, ": ", kOwnConfig);
    return checked_config(parse_json(*own, from, ErrorKind::checkpoint), from);
  }
  RunConfig config;
  config.model = config_of_foreign_gguf(header, values);
  return checked_config(config_to_json(config), where);
}

/// Numbers as numbers, whatever their type; everything else as it is.
bool is_same_value(const GgufValues& wanted, const GgufValues& found, const std::string& key,
                   const GgufValue& value) {
  if (std::holds_alternative<std::string>(value)) return wanted.text(key) == found.text(key);
  if (std::holds_alternative<bool>(value)) return wanted.flag(key) == found.flag(key);
  return wanted.number(key) == found.number(key);
}

std::string value_shown(const GgufValues& values, const std::string& key, const GgufValue& value) {
  if (std::holds_alternative<std::string>(value)) return *values.text(key);
  if (std::holds_alternative<bool>(value)) return *values.flag(key) ? "true" : "false";
  return cat(static_cast<float>(*values.number(key)));
}

/// Each key of the architecture says what our model computes, and none says more.
void require_keys(const GgufHeader& header, const GgufKeys& wanted, std::string_view where) {
  const GgufValues found(header.keys, where), ours(wanted, where);
  const auto prefix = *ours.text("general.architecture") + ".";
  for (const auto& [key, unused] : header.keys.entries()) {
    if (!key.starts_with(prefix)) continue;
    const auto* value = wanted.find(key);
    if (value == nullptr)
      found.refuse(printable(key, 200), "is nothing that makemoe's models have");
    if (!is_same_value(ours, found, key, *value))
      found.refuse(key, cat("is not ", value_shown(ours, key, *value), ", as in makemoe's model"));
  }
}

bool is_read(std::uint32_t type) {
  const auto is = [&](GgmlType one) { return type == static_cast<std::uint32_t>(one); };
  return is(GgmlType::f32) || is(GgmlType::f16) || is(GgmlType::bf16) || is(GgmlType::q8_0);
}

/// One line for each way in which the tensors are not those that are wanted.
std::vector<std::string> gguf_differences(const GgufHeader& header,
                                          const std::vector<ForeignTensor>& tensors) {
  std::map<std::string, const ForeignTensor*> missing;
  for (const auto& tensor : tensors) missing[tensor.name] = &tensor;
  std::vector<std::string> out;
  for (const auto& tensor : header.tensors) {
    const auto quoted = cat("  \"", printable(tensor.name, 200), "\": ");
    const auto found = missing.find(tensor.name);
    if (found == missing.end()) {
      out.push_back(quoted + "the model has no such tensor");
      continue;
    }
    if (found->second->shape != tensor.shape)
      out.push_back(cat(quoted, "shape ", shape_text(tensor.shape), ", the model wants ",
                        shape_text(found->second->shape)));
    if (!is_read(tensor.type))
      out.push_back(cat(quoted, "type ", ggml_layout(tensor.type)->name,
                        ", and F32, F16, BF16 and Q8_0 are read"));
    missing.erase(found);
  }
  for (const auto& [name, unused] : missing) out.push_back(cat("  \"", name, "\": missing"));
  return out;
}

void require_tensors(const GgufHeader& header, const std::vector<ForeignTensor>& tensors,
                     std::string_view where) {
  const auto problems = gguf_differences(header, tensors);
  if (problems.empty()) return;
  throw CheckpointError(cat(where, ": ", problems.size(),
                            " differences from the model that its keys describe; take a whole file "
                            "of such a model\n",
                            join(problems, "\n")));
}

/// Where our model has nothing, the file's has to compute the same.
void require_zeros(const ForeignTensor& tensor, std::span<const float> values,
                   std::string_view where) {
  if (std::ranges::any_of(values, [](float value) { return value != 0; }))
    throw CheckpointError(cat(where, ": tensor \"", tensor.name,
                              "\" has values, for which the model of this file has no use; take "
                              "the file as it was written"));
}

const GgufTensor& tensor_of(const GgufHeader& header, const std::string& name) {
  return *std::ranges::find(header.tensors, name, &GgufTensor::name);
}

}  // namespace

namespace {

/// The twin of a file's own architecture. A model that two architectures have is found as the first
/// of them.
Twin twin_of_file(const ModelSpec& spec, const GgufValues& values, std::string_view where) {
  const std::string key = "general.architecture";
  const auto architecture = *values.required(values.text(key), key);
  auto answer = find_twin(spec, Reader::llama_cpp);
  if (!answer.twin)
    throw CheckpointError(cat(where, ": its model is none that llama.cpp has, for ",
                              join(answer.obstacles, ", "), "; take a file as it was written"));
  auto& twin = *answer.twin;
  if (architecture == names_of(Architecture::granite_moe).gguf &&
      twin.architecture == Architecture::mixtral) {
    twin.architecture = Architecture::granite_moe;
    twin.attention_scale = spec.layers.front().attention.scale;
    twin.query_factor = 1;
  }
  if (const auto name = names_of(twin.architecture).gguf; architecture != name)
    values.refuse(
        key, cat("is \"", printable(architecture), "\", and its model is one of \"", name, "\""));
  return twin;
}

/// Fewer heads of keys and values than of queries are each several of ours.
KeyValueHeads key_value_heads(const GgufValues& values, const ModelSpec& spec, const Twin& twin) {
  const auto key = cat(names_of(twin.architecture).gguf, ".attention.head_count_kv");
  const auto heads = spec.layers.front().attention.heads;
  const auto count = values.whole(key).value_or(heads);
  if (count < 1 || heads % count != 0)
    values.refuse(key, cat("is ", count, ", which does not divide ", heads, " heads"));
  return {count};
}

}  // namespace

GgufDescription describe_gguf(const GgufHeader& header, std::string_view where) {
  const GgufValues values(header.keys, where);
  GgufDescription out{
      read_model_config(header, values, where), read_gguf_tokenizer(header.keys, where), {}};
  const auto spec = spec_of(out.config, out.tokenizer.vocab_size());
  const auto twin = twin_of_file(spec, values, where);
  const auto heads = key_value_heads(values, spec, twin);
  require_keys(header, gguf_keys(spec, twin, heads), where);
  out.tensors = gguf_tensors(spec, twin, heads);
  require_tensors(header, out.tensors, where);
  return out;
}

void import_gguf(const FileReader& file, const GgufHeader& header,
                 const GgufDescription& description, std::string_view where, bool finite_only,
                 const PlaceOf& places) {
  std::vector<float> values;
  for (const auto& tensor : description.tensors) {
    values.clear();
    read_gguf_values(file, tensor_of(header, tensor.name), where,
                     [&](std::span<const float> piece) {
                       values.insert(values.end(), piece.begin(), piece.end());
                     });
    const auto is_finite = [](float value) { return std::isfinite(value); };
    if (finite_only && !std::ranges::all_of(values, is_finite))
      throw CheckpointError(cat(where, ": NaN or infinity in \"", tensor.name,
                                "\"; use other weights, or let them in with --allow-nonfinite"));
    if (tensor.parts.empty()) require_zeros(tensor, values, where);
    scatter(tensor, values, places);
  }
}

}  // namespace moe
