#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace moe::test {

/// What a fixture holds. A reader of its own, so that a fault in the program's reader cannot hide
/// in a test of the model.
struct Golden {
  std::map<std::string, at::Tensor> tensors;
  nlohmann::json shape;  // the oracle's Shape

  const at::Tensor& at(const std::string& name) const { return tensors.at(name); }
  /// Undefined where the fixture has none.
  at::Tensor find(const std::string& name) const {
    const auto found = tensors.find(name);
    return found == tensors.end() ? at::Tensor() : found->second;
  }
};

inline std::filesystem::path source_folder() {
  const auto* folder = std::getenv("MAKEMOE_SOURCE_DIR");
  return folder != nullptr ? folder : ".";
}

inline at::ScalarType golden_type(const std::string& name) {
  if (name == "F64") return at::kDouble;
  if (name == "F32") return at::kFloat;
  if (name == "I64") return at::kLong;
  throw std::runtime_error("golden: type " + name);
}

/// Reads tests/golden/<name>.safetensors: u64 length of the header, JSON header, data.
inline Golden read_golden(const std::string& name) {
  const auto path = source_folder() / "tests" / "golden" / (name + ".safetensors");
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("golden: cannot open " + path.string());
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  std::uint64_t length = 0;
  if (bytes.size() < sizeof length) throw std::runtime_error("golden: cut off: " + path.string());
  std::memcpy(&length, bytes.data(), sizeof length);
  const auto header = nlohmann::json::parse(bytes.substr(sizeof length, length));
  Golden golden;
  for (const auto& [key, entry] : header.items()) {
    if (key == "__metadata__") {
      golden.shape = nlohmann::json::parse(entry.at("shape").get<std::string>());
      continue;
    }
    const auto offsets = entry.at("data_offsets").get<std::vector<std::size_t>>();
    auto tensor = at::empty(entry.at("shape").get<std::vector<std::int64_t>>(),
                            golden_type(entry.at("dtype").get<std::string>()));
    const auto first = sizeof length + length + offsets.at(0), size = offsets.at(1) - offsets.at(0);
    if (size != tensor.nbytes() || first + size > bytes.size())
      throw std::runtime_error("golden: bad extent of " + key + " in " + path.string());
    std::memcpy(tensor.mutable_data_ptr(), bytes.data() + first, size);
    golden.tensors.emplace(key, std::move(tensor));
  }
  return golden;
}

/// max|a-b| / max|b|; where b is all zero, max|a|. NaN and unequal shapes count as infinitely far.
inline double relative_error(const at::Tensor& a, const at::Tensor& b) {
  constexpr auto kFar = std::numeric_limits<double>::infinity();
  if (a.sizes() != b.sizes()) return kFar;
  if (a.numel() == 0) return 0;
  const auto x = a.detach().to(at::kCPU, at::kDouble), y = b.detach().to(at::kCPU, at::kDouble);
  const auto scale = y.abs().max().item<double>();
  const auto error = (x - y).abs().max().item<double>() / (scale > 0 ? scale : 1);
  return error == error ? error : kFar;
}

}  // namespace moe::test
