#include <algorithm>
#include <cstring>
#include <utility>

#include "exchange/folder_texts.h"
#include "moe/base/system.h"
#include "moe/base/text.h"
#include "moe/exchange/ggml_type.h"
#include "moe/exchange/hf_folder.h"
#include "moe/spec/hash_router.h"
#include "moe/spec/parameter_table.h"
#include "moe/store/ngrams.h"
#include "moe/store/safetensors.h"

namespace moe {

namespace {

struct DtypeFacts {
  const char *safetensors, *torch;
  GgmlType type;
};
DtypeFacts facts_of(FolderDtype dtype) {
  switch (dtype) {
    case FolderDtype::f32:
      return {"F32", "float32", GgmlType::f32};
    case FolderDtype::f16:
      return {"F16", "float16", GgmlType::f16};
    case FolderDtype::bf16:
      return {"BF16", "bfloat16", GgmlType::bf16};
  }
  throw std::logic_error("no such dtype");
}

/// A tensor of model.safetensors with its bytes.
struct StoredTensor {
  TensorInfo info;
  std::string bytes;
};

StoredTensor stored_floats(std::string name, std::vector<std::int64_t> shape,
                           std::span<const float> values, FolderDtype dtype) {
  const auto facts = facts_of(dtype);
  StoredTensor out{{std::move(name), facts.safetensors, std::move(shape)}, {}};
  append_values(facts.type, values, out.bytes);
  return out;
}

template <class Integer>
StoredTensor stored_ids(std::string name, std::vector<std::int64_t> shape,
                        const std::vector<Integer>& ids) {
  const std::vector<std::int64_t> wide(ids.begin(), ids.end());
  StoredTensor out{{std::move(name), "I64", std::move(shape)}, {}};
  out.bytes.assign(reinterpret_cast<const char*>(wide.data()), wide.size() * sizeof(std::int64_t));
  return out;
}

std::vector<StoredTensor> twin_tensors(const OwnModel& model, const Twin& twin, FolderDtype dtype) {
  std::vector<StoredTensor> out;
  for (const auto& tensor : folder_tensors(model.spec, twin))
    out.push_back(stored_floats(tensor.name, tensor.shape, gather(tensor, model.values),
                                tensor.keeps_float32 ? FolderDtype::f32 : dtype));
  return out;
}

/// Under their published names, with what a hash or a table chooses by.
std::vector<StoredTensor> own_tensors(const OwnModel& model, FolderDtype dtype) {
  const auto& spec = model.spec;
  const ParameterTable table(spec);
  std::vector<StoredTensor> out;
  for (const auto& piece : table.published()) {
    const auto& row = table.rows()[piece.row];
    const bool is_bias = row.role == Role::balance_bias;
    out.push_back(stored_floats(piece.name, row.piece_shape, model.values(piece.name),
                                is_bias ? FolderDtype::f32 : dtype));
  }
  for (const auto& keys : spec.ngrams)
    out.push_back(stored_ids(ngram_keys_name(keys.order), {keys.rows(), keys.order}, keys.symbols));
  for (std::size_t layer = 0; layer < spec.layers.size(); ++layer) {
    const auto& mixture = spec.layers[layer].feed_forward;
    if (mixture.has_router() && mixture.router == RouterKind::hash)
      out.push_back(stored_ids(cat("blocks.", layer, ".smoe.router.hashed"),
                               {spec.vocab, mixture.top_k},
                               hashed_experts(spec.vocab, mixture.experts, mixture.top_k)));
  }
  return out;
}

FolderFile weights_file(std::vector<StoredTensor> tensors) {
  const auto bytes_of_value = [](const StoredTensor& tensor) {
    const auto& dtype = tensor.info.dtype;
    return dtype == "I64" ? 8 : dtype == "F32" ? 4 : 2;
  };
  std::ranges::sort(tensors, [&](const StoredTensor& a, const StoredTensor& b) {
    const auto size_a = bytes_of_value(a), size_b = bytes_of_value(b);
    return size_a != size_b ? size_a > size_b : a.info.name < b.info.name;
  });
  std::vector<TensorInfo> infos;
  infos.reserve(tensors.size());
  for (const auto& tensor : tensors) infos.push_back(tensor.info);
  FolderFile file{"model.safetensors", {write_safetensors_header(infos, "pt")}};
  for (auto& tensor : tensors) file.pieces.push_back(std::move(tensor.bytes));
  return file;
}

FolderFile json_file(const char* name, const Json& json) {
  return {name, {json_text(json, 2) + "\n"}};
}

void add_tokenizer(const OwnModel& model, bool has_end, std::vector<FolderFile>& files) {
  Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                 {"model_max_length", model.spec.context},
                 {"clean_up_tokenization_spaces", false}};
  Json specials = Json::object();
  if (has_end) specials = {{"bos_token", kEndOfText}, {"eos_token", kEndOfText}};
  config.update(specials);
  files.push_back(json_file("tokenizer.json", model.tokenizer.to_json()));
  files.push_back(json_file("tokenizer_config.json", config));
  files.push_back(json_file("special_tokens_map.json", specials));
}

Json generation_config(const FolderFacts& facts, bool uses_cache) {
  const Json end = facts.end_of_text ? Json(*facts.end_of_text) : Json(nullptr);
  return {{"bos_token_id", end},
          {"eos_token_id", end},
          {"pad_token_id", nullptr},
          {"use_cache", uses_cache}};
}

}  // namespace

Folder make_folder(const OwnModel& model, FolderDtype dtype) {
  const FolderFacts facts{facts_of(dtype).torch, model.tokenizer.end_id()};
  constexpr double kAtOnce = 1.2;  // a tensor is there twice while it is written
  require_memory(kAtOnce * sizeof(float) * static_cast<double>(ParameterTable(model.spec).count()),
                 "export: the files need", "use a machine with more memory");
  Folder folder{{}, find_twin(model.spec, Reader::transformers)};
  const auto& twin = folder.answer.twin;
  auto& files = folder.files;
  files.push_back(
      weights_file(twin ? twin_tensors(model, *twin, dtype) : own_tensors(model, dtype)));
  add_tokenizer(model, facts.end_of_text.has_value(), files);
  files.push_back(json_file("generation_config.json", generation_config(facts, twin.has_value())));
  if (!twin)
    for (const auto& text : folder_texts())
      files.push_back({std::string(text.name), {std::string(text.text)}});
  files.push_back(json_file("config.json", twin
                                               ? twin_config(model.config, model.spec, *twin, facts)
                                               : own_config(model.config, model.spec, facts)));
  return folder;
}

}  // namespace moe
