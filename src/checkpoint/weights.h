#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "moe/store/manifest.h"
#include "moe/store/safetensors.h"

namespace moe {

/// A tensor to be read from, or written to, a file under `name`: CPU, contiguous, its memory stays.
struct NamedTensor {
  std::string name;
  at::Tensor tensor;
};

/// A safetensors file over the tensors' memory. `header` must outlive the returned pieces.
CheckpointFile safetensors_file(const std::string& name, std::vector<NamedTensor> tensors,
                                std::string& header);

/// What a reader allows.
struct ReadRules {
  bool converts = false;       // F64, F16 and BF16 too, converted
  bool ignores_tril = false;   // published causal-mask buffers
  bool strips_prefix = false;  // "module." and the like, before every name
  bool allows_nonfinite = false;
  /// Other names of wanted tensors: a file may have either, or both with the same values.
  std::map<std::string, std::string> second_names = {};
  std::map<std::string, std::string> hints = {};  // after "missing", for some names
};

/// Fills every tensor from the file at `path`. Missing, extra, ill-shaped and
/// ill-typed tensors are listed at once in a WeightsMismatch, those with NaN or infinity in a
/// CheckpointError unless they are allowed; nothing is changed then. Returns the prefix that was
/// taken off, or "".
std::string read_tensors(const std::filesystem::path& path, std::vector<NamedTensor>& tensors,
                         const ReadRules& rules = {});

}  // namespace moe
