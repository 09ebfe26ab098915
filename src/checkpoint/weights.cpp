#include "checkpoint/weights.h"

#include <ATen/ops/empty.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <map>

#include "moe/base/file_reader.h"
#include "moe/base/text.h"
#include "moe/checkpoint/checkpoint.h"

namespace moe {

namespace {

static_assert(std::endian::native == std::endian::little, "safetensors holds little-endian values");

using Wanted = std::map<std::string, const at::Tensor*>;

std::string dtype_of(const at::Tensor& tensor) {
  return tensor.scalar_type() == at::kLong ? "I64" : "F32";
}

std::string_view bytes_of(const at::Tensor& tensor) {
  return {static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes()};
}

std::string shape_text(at::IntArrayRef shape) {
  std::vector<std::string> sizes;
  for (const auto size : shape) sizes.push_back(cat(size));
  return cat("(", join(sizes, ", "), ")");
}

bool readable(const std::string& found, const std::string& wanted, const ReadRules& rules) {
  if (found == wanted) return true;
  return rules.converts && wanted == "F32" && (found == "F64" || found == "F16" || found == "BF16");
}

/// A causal mask of the published attention: beside a key that the model has.
bool is_tril(const std::string& name, const Wanted& wanted) {
  constexpr std::string_view tril = ".tril";
  return name.ends_with(tril) &&
         wanted.contains(name.substr(0, name.size() - tril.size()) + ".key.weight");
}

/// One line for each way in which the file is not what is wanted.
std::vector<std::string> differences(const SafetensorsHeader& header, const Wanted& wanted,
                                     const ReadRules& rules) {
  std::vector<std::string> out;
  auto missing = wanted;
  for (const auto& found : header.tensors) {
    const auto quoted = cat("  \"", printable(found.name, 200), "\": ");
    const auto at = wanted.find(found.name);
    missing.erase(found.name);
    if (at == wanted.end()) {
      if (!rules.ignores_tril || !is_tril(found.name, wanted))
        out.push_back(quoted + "the model has no such tensor");
      continue;
    }
    if (at->second->sizes() != at::IntArrayRef(found.shape))
      out.push_back(cat(quoted, "shape ", shape_text(found.shape), ", the model wants ",
                        shape_text(at->second->sizes())));
    if (!readable(found.dtype, dtype_of(*at->second), rules))
      out.push_back(cat(quoted, "dtype ", found.dtype, ", ", dtype_of(*at->second), " is wanted"));
  }
  for (const auto& [name, tensor] : missing) {
    const auto hint = rules.hints.find(name);
    out.push_back(cat("  \"", name, "\": missing", hint == rules.hints.end() ? "" : hint->second));
  }
  return out;
}

/// What stands before the wanted names where wrappers stand before the model: "module.",
/// "_orig_mod.", ... "" where a name is there as it is wanted, or none is.
std::string prefix_of(const SafetensorsHeader& header, const Wanted& wanted) {
  std::string prefix;
  for (const auto& found : header.tensors) {
    if (wanted.contains(found.name)) return "";
    const auto after = [&](const auto& name) { return found.name.ends_with("." + name.first); };
    const auto name = std::ranges::find_if(wanted, after);
    if (prefix.empty() && name != wanted.end())
      prefix = found.name.substr(0, found.name.size() - name->first.size());
  }
  return prefix;
}

/// Takes the prefix off every name that has it.
SafetensorsHeader without_prefix(SafetensorsHeader header, const std::string& prefix) {
  for (auto& found : header.tensors)
    if (found.name.starts_with(prefix)) found.name.erase(0, prefix.size());
  return header;
}

/// Whether the file has values in a dtype that is not read.
bool has_other_dtypes(const SafetensorsHeader& header, const Wanted& wanted,
                      const ReadRules& rules) {
  return std::ranges::any_of(header.tensors, [&](const TensorInfo& found) {
    const auto at = wanted.find(found.name);
    return at != wanted.end() && dtype_of(*at->second) == "F32" &&
           !readable(found.dtype, "F32", rules);
  });
}

constexpr const char* kToFloat =
    "; convert it to F32 (quantized values want their scales too): python3 -c \"import "
    "safetensors.torch as st; st.save_file({k: v.float() for k, v in "
    "st.load_file('FILE').items()}, "
    "'NEW.safetensors')\"";

/// The first of the lines, and how many more there are: of what may be hundreds.
std::string few_of(const std::vector<std::string>& lines) {
  constexpr std::size_t kMost = 10;
  std::string out;
  for (std::size_t i = 0; i < std::min(kMost, lines.size()); ++i) out += cat("\n", lines[i]);
  return lines.size() > kMost ? cat(out, "\n  and ", lines.size() - kMost, " more") : out;
}

[[noreturn]] void refuse_weights(const std::filesystem::path& path,
                                 const std::vector<std::string>& problems,
                                 const std::string& prefix, bool has_others) {
  throw WeightsMismatch(
      cat(path.string(), ": ", problems.size(), " differences from the model",
          prefix.empty() ? "" : cat(", the prefix \"", printable(prefix), "\" taken off"),
          has_others ? kToFloat : "; give the config of these weights", "\n", join(problems, "\n")),
      few_of(problems));
}

/// Values of type T at any alignment, as float; whether all of them are finite.
template <class T>
bool fill(std::string_view bytes, float* to) {
  bool finite = true;
  for (std::size_t i = 0; i < bytes.size() / sizeof(T); ++i) {
    T value;
    std::memcpy(static_cast<void*>(&value), bytes.data() + i * sizeof(T), sizeof(T));
    to[i] = static_cast<float>(value);
    finite = finite && std::isfinite(to[i]);
  }
  return finite;
}

/// A block of values as a tensor (n) on the CPU; `finite` becomes false for NaN and infinity.
at::Tensor values_of(const std::string& dtype, std::string_view bytes, bool& finite) {
  const auto count = [&](std::size_t size) {
    return static_cast<std::int64_t>(bytes.size() / size);
  };
  if (dtype == "I64") {
    auto out = at::empty({count(8)}, at::kLong);
    std::memcpy(out.mutable_data_ptr(), bytes.data(), bytes.size());
    return out;
  }
  auto out = at::empty({count(dtype == "F64" ? 8 : dtype == "F32" ? 4 : 2)}, at::kFloat);
  auto* to = out.mutable_data_ptr<float>();
  const bool sound = dtype == "F32"   ? fill<float>(bytes, to)
                     : dtype == "F64" ? fill<double>(bytes, to)
                     : dtype == "F16" ? fill<c10::Half>(bytes, to)
                                      : fill<c10::BFloat16>(bytes, to);
  finite = finite && sound;
  return out;
}

/// Reads one tensor of a file, block by block, and fills `to` where it is given. Whether all its
/// values are finite.
bool read_tensor(const FileReader& file, std::uint64_t data_begin, const TensorInfo& info,
                 const at::Tensor* to) {
  bool finite = true;
  std::int64_t at = 0;
  file.read_blocks(data_begin + info.begin, data_begin + info.end, [&](std::string_view bytes) {
    const auto values = values_of(info.dtype, bytes, finite);
    if (to != nullptr) to->view(-1).narrow(0, at, values.numel()).copy_(values);
    at += values.numel();
  });
  return finite;
}

bool has(const SafetensorsHeader& header, const std::string& name) {
  return std::ranges::find(header.tensors, name, &TensorInfo::name) != header.tensors.end();
}

/// A file that has a tensor under its second name is wanted to: instead of, or besides, the first.
void add_second_names(const SafetensorsHeader& header, const ReadRules& rules, Wanted& wanted) {
  for (const auto& [second, first] : rules.second_names) {
    if (!has(header, second)) continue;
    wanted[second] = wanted.at(first);
    if (!has(header, first)) wanted.erase(first);
  }
}

/// Whether two tensors of the file have the same values to the last bit, of the shape of `like`.
bool same_values(const FileReader& file, const SafetensorsHeader& header, const std::string& a,
                 const std::string& b, const at::Tensor& like) {
  const auto read = [&](const std::string& name) {
    auto values = at::empty_like(like);
    read_tensor(file, header.data_begin,
                *std::ranges::find(header.tensors, name, &TensorInfo::name), &values);
    return values;
  };
  const auto first = read(a), second = read(b);
  return bytes_of(first) == bytes_of(second);
}

void require_same_values(const std::filesystem::path& path, const FileReader& file,
                         const SafetensorsHeader& header, const ReadRules& rules,
                         const Wanted& wanted) {
  for (const auto& [second, first] : rules.second_names)
    if (wanted.contains(first) && wanted.contains(second) &&
        !same_values(file, header, first, second, *wanted.at(first)))
      throw CheckpointError(
          cat(path.string(), ": \"", second, "\" has other values than \"", first,
              "\", and the model has one tensor for both; set model.tied to false"));
}

}  // namespace

CheckpointFile safetensors_file(const std::string& name, std::vector<NamedTensor> tensors,
                                std::string& header) {
  std::ranges::sort(tensors, [](const NamedTensor& a, const NamedTensor& b) {
    const auto size_a = a.tensor.element_size(), size_b = b.tensor.element_size();
    return size_a != size_b ? size_a > size_b : a.name < b.name;
  });
  std::vector<TensorInfo> infos;
  for (const auto& [label, tensor] : tensors)
    infos.push_back({label, dtype_of(tensor), tensor.sizes().vec(), 0, 0});
  header = write_safetensors_header(infos);
  CheckpointFile file{name, {{"", header}}};
  for (const auto& [label, tensor] : tensors) file.pieces.push_back({label, bytes_of(tensor)});
  return file;
}

std::string read_tensors(const std::filesystem::path& path, std::vector<NamedTensor>& tensors,
                         const ReadRules& rules) {
  const FileReader file(path, ErrorKind::checkpoint);
  auto header = read_safetensors(file, path.string());
  Wanted wanted;
  for (const auto& [name, tensor] : tensors) wanted[name] = &tensor;
  const auto prefix = rules.strips_prefix ? prefix_of(header, wanted) : "";
  header = without_prefix(std::move(header), prefix);
  add_second_names(header, rules, wanted);
  const auto problems = differences(header, wanted, rules);
  if (!problems.empty())
    refuse_weights(path, problems, prefix, has_other_dtypes(header, wanted, rules));
  std::erase_if(header.tensors,
                [&](const TensorInfo& info) { return !wanted.contains(info.name); });
  // Read twice, so that nothing changes where it does not read, and no copy is held meanwhile.
  std::vector<std::string> bad;
  for (const auto& info : header.tensors)
    if (!read_tensor(file, header.data_begin, info, nullptr) && !rules.allows_nonfinite)
      bad.push_back(cat("\"", info.name, "\""));
  if (!bad.empty())
    throw CheckpointError(cat(path.string(), ": NaN or infinity in ", join(bad, ", "),
                              "; use earlier weights, or let them in with --allow-nonfinite"));
  require_same_values(path, file, header, rules, wanted);
  for (const auto& info : header.tensors)
    read_tensor(file, header.data_begin, info, wanted.at(info.name));
  return prefix;
}

}  // namespace moe
