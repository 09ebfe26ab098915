#include "moe/store/ngrams.h"

#include <cstring>
#include <optional>

#include "moe/base/text.h"
#include "moe/store/safetensors.h"

namespace moe {

namespace {

const TensorInfo* find_tensor(const SafetensorsHeader& header, const std::string& name) {
  for (const auto& tensor : header.tensors)
    if (tensor.name == name || tensor.name.ends_with("." + name)) return &tensor;
  return nullptr;
}

/// What is wrong with keys; "" if nothing is.
std::string problem_of(const NgramKeys& keys, std::int64_t symbols) {
  std::optional<std::int64_t> last;
  for (const auto id : keys.symbols)
    if (id < 0 || id > symbols) return cat("the id ", id, " is none of ", symbols, " symbols");
  for (std::int64_t row = 0; row < keys.rows(); ++row) {
    const auto number = run_number(keys.symbols.data() + row * keys.order, keys.order, symbols);
    if (last && *last >= number) return cat("row ", row, " is not behind the one before it");
    last = number;
  }
  return "";
}

NgramKeys read_keys(const FileReader& file, const SafetensorsHeader& header, std::int64_t order,
                    std::int64_t symbols, const std::string& where) {
  const auto name = ngram_keys_name(order);
  const auto refuse = [&](const std::string& what) {
    throw CheckpointError(cat(where, ": \"", name, "\": ", what, "; use other weights"));
  };
  const auto* tensor = find_tensor(header, name);
  if (tensor == nullptr) refuse("missing, and model.ngram.orders asks for its table");
  if (tensor->dtype != "I64" || tensor->shape.size() != 2 || tensor->shape[1] != order)
    refuse(cat("is no list of runs of ", order, " int64 ids"));
  if (!count_runs(symbols, order)) refuse(cat("are runs of too many for ", symbols, " symbols"));
  NgramKeys keys{order};
  file.read_blocks(header.data_begin + tensor->begin, header.data_begin + tensor->end,
                   [&](std::string_view bytes) {
                     for (std::size_t at = 0; at + sizeof(std::int64_t) <= bytes.size();
                          at += sizeof(std::int64_t)) {
                       std::int64_t id = 0;
                       std::memcpy(&id, bytes.data() + at, sizeof id);
                       const bool fits = id >= 0 && id <= symbols;
                       keys.symbols.push_back(fits ? static_cast<std::int32_t>(id) : -1);
                     }
                   });
  if (const auto problem = problem_of(keys, symbols); !problem.empty()) refuse(problem);
  return keys;
}

}  // namespace

std::string ngram_keys_name(std::int64_t order) { return cat("ngram.", order, ".keys"); }

std::vector<NgramKeys> read_ngram_keys(const std::filesystem::path& path, const NgramConfig& config,
                                       std::int64_t symbols) {
  if (config.orders.empty()) return {};
  const FileReader file(path, ErrorKind::checkpoint);
  const auto header = read_safetensors(file, path.string());
  std::vector<NgramKeys> out;
  for (const auto order : config.orders)
    out.push_back(read_keys(file, header, order, symbols, path.string()));
  return out;
}

}  // namespace moe
