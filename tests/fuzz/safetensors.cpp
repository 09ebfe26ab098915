// Safetensors files: the header, and where it says that tensors are.
#include "moe/store/safetensors.h"

#include "moe/base/error.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memory_file.h"

namespace moe::fuzz {

std::vector<std::string> seeds() { return golden({"lm_topk.safetensors", "lm_odd.safetensors"}); }

void read(std::string_view bytes) {
  static MemoryFile input;
  input.set(bytes);
  const FileReader file(input.path(), ErrorKind::checkpoint);
  const auto header = read_safetensors(file, "input");
  for (const auto& tensor : header.tensors)
    file.read_blocks(header.data_begin + tensor.begin, header.data_begin + tensor.end,
                     [](std::string_view) {});
}

}  // namespace moe::fuzz
