// What is read from any bytes as a GGUF file: its front, its model, its tokenizer, its values.

#include <map>
#include <vector>

#include "moe/base/error.h"
#include "moe/exchange/gguf_model.h"
#include "tests/fuzz/memory_file.h"

namespace {

/// All tensors of the file, wherever the model has places for them.
void import_all(const moe::FileReader& file, const moe::GgufHeader& header) {
  const auto description = moe::describe_gguf(header, "input");
  std::map<std::string, std::vector<float>> tensors;
  for (const auto& tensor : description.tensors)
    for (const auto& part : tensor.parts)
      for (const auto& name : part.names)
        tensors[name].resize(static_cast<std::size_t>(part.rows * part.columns));
  moe::import_gguf(file, header, description, "input", true,
                   [&](const std::string& name) -> std::span<float> { return tensors.at(name); });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const moe::test::MemoryFile input(data, size);
  try {
    const moe::FileReader file(input.path(), moe::ErrorKind::checkpoint);
    const auto header = moe::read_gguf(file, "input");
    try {
      import_all(file, header);
    } catch (const moe::CheckpointError&) {  // NOLINT: what is no model of ours is read on
    }
    for (const auto& tensor : header.tensors)
      moe::read_gguf_values(file, tensor, "input", [](std::span<const float>) {});
  } catch (const moe::CheckpointError&) {  // NOLINT: that is what is asked for
  }
  return 0;
}
