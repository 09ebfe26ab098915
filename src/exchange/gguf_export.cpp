#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "exchange/without_noise.h"
#include "moe/base/text.h"
#include "moe/config/load.h"
#include "moe/config/spec_of.h"
#include "moe/exchange/gguf_model.h"
#include "moe/exchange/gguf_tokenizer.h"

namespace moe {

namespace {

/// llama.cpp's number for a file whose matrices are of a type.
std::uint32_t file_type_of(GgmlType type) {
  switch (type) {
    case GgmlType::f32:
      return 0;
    case GgmlType::f16:
      return 1;
    case GgmlType::q8_0:
      return 7;
    case GgmlType::bf16:
      return 32;
  }
  throw std::logic_error("no such type of values");
}

GgmlType type_of_tensor(const ForeignTensor& tensor, GgmlType type) {
  if (tensor.keeps_float32) return GgmlType::f32;
  const auto row = static_cast<std::uint64_t>(tensor.shape.back());
  return row % layout_of(type).block_values == 0 ? type : GgmlType::f16;
}

/// From which magnitude on a type makes a value infinite.
float overflow_of(GgmlType type) {
  constexpr float kFloat16 = 65520, kSteps = 127;
  switch (type) {
    case GgmlType::f32:
      return HUGE_VALF;
    case GgmlType::f16:
      return kFloat16;
    case GgmlType::q8_0:
      return kFloat16 * kSteps;
    case GgmlType::bf16:
      return 0x1.FFp127F;  // halfway to what the next one would be
  }
  throw std::logic_error("no such type of values");
}

bool overflows(const ForeignTensor& tensor, GgmlType type, const ValuesOf& values) {
  const float most = overflow_of(type);
  return std::ranges::any_of(gather(tensor, values), [&](float value) {
    return std::isfinite(value) && std::fabs(value) >= most;
  });
}

Twin require_twin(const ModelSpec& spec) {
  auto answer = find_twin(spec, Reader::llama_cpp);
  if (!answer.twin)
    throw ConfigError(cat("--format gguf: llama.cpp has no model like this one; in the way ",
                          answer.obstacles.size() == 1 ? "stands " : "stand ",
                          join(answer.obstacles, ", "), "; train without, or take another format"));
  return *answer.twin;
}

GgufKeys keys_of_file(const ModelConfig& config, const ModelSpec& spec, const Twin& twin,
                      const Tokenizer& tokenizer, GgmlType type) {
  auto keys = gguf_keys(spec, twin, {spec.layers.front().attention.heads});
  keys.add("general.type", "model");
  keys.add("general.file_type", file_type_of(type));
  if (type == GgmlType::q8_0) keys.add("general.quantization_version", std::uint32_t{2});
  RunConfig recorded;
  recorded.model = without_noise(config);
  keys.add("makemoe.config", json_text({{"model", config_to_json(recorded).at("model")}}));
  add_gguf_tokenizer(tokenizer, keys);
  return keys;
}

/// One line for each width of rows that are no whole blocks.
std::vector<std::string> fallbacks_of(const std::vector<ForeignTensor>& tensors, GgmlType type) {
  std::map<std::int64_t, std::vector<std::string>> by_width;
  for (const auto& tensor : tensors)
    if (!tensor.keeps_float32 && type_of_tensor(tensor, type) != type)
      by_width[tensor.shape.back()].push_back(tensor.name);
  std::vector<std::string> out;
  for (const auto& [width, names] : by_width) {
    const auto others = names.size() == 1 ? "" : cat(" and ", names.size() - 1, " more");
    out.push_back(cat(names.front(), others, ": F16, since rows of ", width,
                      " values are no whole blocks of ", layout_of(type).block_values));
  }
  return out;
}

}  // namespace

std::vector<std::string> export_gguf(const ModelConfig& config, const Tokenizer& tokenizer,
                                     GgmlType type, const ValuesOf& values,
                                     const std::function<void(const ByteSource&)>& write) {
  const auto spec = spec_of(config, tokenizer.vocab_size());
  const auto twin = require_twin(spec);
  const auto keys = keys_of_file(config, spec, twin, tokenizer, type);
  const auto tensors = gguf_tensors(spec, twin, {spec.layers.front().attention.heads});
  std::vector<GgufSource> sources;
  for (const auto& tensor : tensors) {
    const auto as = type_of_tensor(tensor, type);
    if (overflows(tensor, as, values))
      throw ConfigError(cat("--dtype: ", tensor.name, " has values that ", layout_of(as).name,
                            " makes infinite; take bf16 or f32"));
    sources.push_back({tensor.name, as, tensor.shape, [&tensor, &values](const ValueSink& sink) {
                         sink(gather(tensor, values));
                       }});
  }
  write([&](const ByteSink& sink) { write_gguf(keys, sources, sink); });
  auto notices = fallbacks_of(tensors, type);
  if (config.moe.router == RouterKind::noisy_topk && twin.experts > 0)
    notices.emplace_back("the router's noise is left out: llama.cpp has none");
  return notices;
}

}  // namespace moe
