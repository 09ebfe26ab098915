// GGUF files: the front, the model, the tokenizer, the values.
#include <map>
#include <vector>

#include "moe/base/error.h"
#include "moe/exchange/gguf_model.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memory_file.h"

namespace moe::fuzz {

namespace {

/// All tensors of the file, wherever the model has places for them.
void import_all(const FileReader& file, const GgufHeader& header) {
  const auto description = describe_gguf(header, "input");
  std::map<std::string, std::vector<float>> tensors;
  for (const auto& tensor : description.tensors)
    for (const auto& part : tensor.parts)
      for (const auto& name : part.names)
        tensors[name].resize(static_cast<std::size_t>(part.rows * part.columns));
  import_gguf(file, header, description, "input", true,
              [&](const std::string& name) -> std::span<float> { return tensors.at(name); });
}

}  // namespace

std::vector<std::string> seeds() { return golden({"gguf.gguf", "model.gguf", "words.gguf"}); }

void read(std::string_view bytes) {
  static MemoryFile input;
  input.set(bytes);
  const FileReader file(input.path(), ErrorKind::checkpoint);
  const auto header = read_gguf(file, "input");
  try {
    import_all(file, header);
  } catch (const CheckpointError&) {  // NOLINT: what is no model of ours is read on
  }
  for (const auto& tensor : header.tensors)
    read_gguf_values(file, tensor, "input", [](std::span<const float>) {});
}

}  // namespace moe::fuzz
