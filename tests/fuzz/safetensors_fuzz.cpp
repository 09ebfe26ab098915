// What is read from any bytes as a safetensors file: its header.

#include "moe/base/error.h"
#include "moe/store/safetensors.h"
#include "tests/fuzz/memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const moe::test::MemoryFile input(data, size);
  try {
    const moe::FileReader file(input.path(), moe::ErrorKind::checkpoint);
    const auto header = moe::read_safetensors(file, "input");
    for (const auto& tensor : header.tensors)
      file.read_blocks(header.data_begin + tensor.begin, header.data_begin + tensor.end,
                       [](std::string_view) {});
  } catch (const moe::CheckpointError&) {  // NOLINT: that is what is asked for
  }
  return 0;
}
