#include "cli/gguf.h"

#include <algorithm>
#include <array>
#include <map>
#include <span>

#include "cli/imported_run.h"
#include "cli/output.h"
#include "moe/base/text.h"
#include "moe/exchange/gguf_model.h"
#include "moe/model/flat.h"

namespace moe::cli {

namespace {

struct GgufDtype {
  std::string_view name;
  GgmlType type;
};
constexpr std::array kGgufDtypes{GgufDtype{"f32", GgmlType::f32}, GgufDtype{"f16", GgmlType::f16},
                                 GgufDtype{"bf16", GgmlType::bf16},
                                 GgufDtype{"q8_0", GgmlType::q8_0}};

GgmlType gguf_dtype(const std::string& name) {
  if (name.empty()) return GgmlType::f32;
  const auto found = std::ranges::find(kGgufDtypes, name, &GgufDtype::name);
  if (found == kGgufDtypes.end())
    throw ConfigError(
        cat("--dtype: \"", printable(name), "\" is none of GGUF's; give f32, f16, bf16 or q8_0"));
  return found->type;
}

/// Where each tensor lies, by its published name; on the CPU, where `flat` has to stay.
std::map<std::string, std::span<float>> published_places(at::Tensor& values,
                                                         const FlatParameters& flat) {
  std::map<std::string, std::span<float>> out;
  auto* begin = values.mutable_data_ptr<float>();
  for (const auto& tensor : flat.layout())
    out[tensor.name] = {begin + tensor.offset, static_cast<std::size_t>(tensor.numel())};
  return out;
}

}  // namespace

int write_gguf_file(const std::string& out, const std::string& dtype, LoadedModel& loaded,
                    const Services& services) {
  const auto type = gguf_dtype(dtype);
  FlatParameters flat(loaded.model);
  const auto places = published_places(flat.values(), flat);
  const auto notices = export_gguf(
      loaded.info.config.model, Tokenizer(loaded.info.tokenizer), type,
      [&](const std::string& name) { return places.at(name); },
      [&](const ByteSource& source) { write_result(out, source, services.files); });
  for (const auto& notice : notices) services.log.warn(notice);
  if (!is_standard_output(out)) services.log.info(cat("wrote ", out));
  return 0;
}

bool is_gguf_file(const std::string& path) {
  constexpr std::string_view kMagic = "GGUF";
  const FileReader file(path, ErrorKind::checkpoint);
  std::string front(std::min<std::uint64_t>(kMagic.size(), file.size()), '\0');
  file.read(0, front);
  return front == kMagic;
}

int import_gguf_file(const std::string& path, const std::string& out, WeightValues values,
                     const Services& services) {
  const FileReader file(path, ErrorKind::checkpoint);
  const auto header = read_gguf(file, path);
  const auto description = describe_gguf(header, path);
  RunConfig config;
  config.model = description.config;
  const auto fill = [&](FlatParameters& flat) {
    auto places = published_places(flat.values(), flat);
    import_gguf(file, header, description, path, values == WeightValues::finite,
                [&](const std::string& name) { return places.at(name); });
  };
  make_imported_run({config, description.tokenizer.vocab_size(), description.tokenizer, {}, fill},
                    out, services);
  return 0;
}

}  // namespace moe::cli
