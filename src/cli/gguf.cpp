#include "cli/gguf.h"

#include <algorithm>
#include <array>

#include "cli/imported_run.h"
#include "cli/output.h"
#include "moe/base/file_reader.h"
#include "moe/base/text.h"
#include "moe/config/load.h"
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

}  // namespace

int write_gguf_file(const std::string& out, const std::string& dtype, LoadedModel& loaded,
                    const Services& services) {
  const auto type = gguf_dtype(dtype);
  const FlatParameters flat(loaded.model);
  const auto notices =
      export_gguf(loaded.info.config.model, loaded.info.tokenizer, type, values_of(flat),
                  [&](const ByteSource& source) { write_result(out, source, services.files); });
  for (const auto& notice : notices) services.log.warn(notice);
  if (!is_standard_output(out)) services.log.info(cat("wrote ", out));
  return 0;
}

bool is_gguf_file(const std::string& path) {
  constexpr std::string_view kMagic = "GGUF";
  std::error_code ignored;  // the reader of what it is then says what is wrong
  if (!fs::is_regular_file(path, ignored)) return false;
  const FileReader file(path, ErrorKind::checkpoint);
  std::string front(std::min<std::uint64_t>(kMagic.size(), file.size()), '\0');
  file.read(0, front);
  return front == kMagic;
}

void import_gguf_file(const std::string& path, const std::string& base, WeightValues values,
                      const std::string& out, const Services& services) {
  const FileReader file(path, ErrorKind::checkpoint);
  const auto header = read_gguf(file, path);
  const auto description = describe_gguf(header, path);
  auto config = base.empty() ? RunConfig() : load_config(fs::path(base), {});
  const auto kernels = config.model.kernels;
  config.model = description.config;
  config.model.kernels = kernels;
  const bool is_bpe = description.tokenizer.kind() == TokenizerKind::bpe;
  config.data.tokenizer = is_bpe ? "bpe" : "char";
  const auto fill = [&](FlatParameters& flat) {
    import_gguf(file, header, description, path, values == WeightValues::finite, places_of(flat));
  };
  make_imported_run({config, description.tokenizer.vocab_size(), description.tokenizer, {}, fill},
                    out, services);
}

}  // namespace moe::cli
