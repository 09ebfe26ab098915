#include <algorithm>
#include <set>
#include <unordered_set>

#include "exchange/gguf_cursor.h"
#include "moe/base/text.h"
#include "moe/exchange/gguf_file.h"

namespace moe {

namespace {

constexpr std::uint32_t kMagic = 0x46554747;        // "GGUF"
constexpr std::uint64_t kLeastKey = 8 + 1 + 4 + 1;  // length, one byte of name, type, value
constexpr std::uint64_t kLeastTensor = 8 + 1 + 4 + 4 + 8;
constexpr std::uint32_t kMostDimensions = 4;  // ggml's
constexpr std::uint64_t kMostAlignment = 1U << 20U;
constexpr std::uint64_t kLongestName = 1024;  // [bytes] of a key or a tensor

class GgufReader {
 public:
  GgufReader(const FileReader& file, std::string_view where) : file_(file), in_(file, where) {}

  GgufHeader read() {
    read_version();
    const auto tensors = in_.count(kLeastTensor, "the number of tensors");
    const auto keys = in_.count(kLeastKey, "the number of keys");
    for (std::uint64_t i = 0; i < keys; ++i) read_key();
    read_alignment();
    for (std::uint64_t i = 0; i < tensors; ++i) read_tensor();
    place_tensors();
    return std::move(header_);
  }

 private:
  void read_version() {
    if (in_.number<std::uint32_t>("its first bytes") != kMagic)
      in_.refuse("does not begin with \"GGUF\"");
    const auto version = in_.number<std::uint32_t>("the version");
    if (version == 2 || version == 3) return;  // which differ in what big-endian files say alone
    if (version != 0 && (version & 0xFFFFU) == 0)
      in_.refuse("is big-endian, and makemoe reads little-endian files");
    in_.refuse(cat("is GGUF of version ", version, ", and makemoe reads versions 2 and 3"));
  }

  std::string read_name(std::string_view what) {
    auto name = in_.text(what);
    if (name.empty() || name.size() > kLongestName)
      in_.refuse(cat(what, " has ", name.size(), " bytes"));
    if (name.find('\0') != std::string::npos) in_.refuse(cat(what, " has a NUL byte"));
    return name;
  }

  void read_key() {
    auto key = read_name("the name of a key");
    if (!keys_.insert(key).second)
      in_.refuse(cat("the key \"", printable(key, 200), "\" stands there twice"));
    const auto type = in_.number<std::uint32_t>("the type of a value");
    header_.keys.add(key, value<0>(type, key));
  }

  /// The value of `type`, which is the place of an alternative.
  template <std::size_t Place>
  GgufValue value(std::uint32_t type, const std::string& key) {
    if constexpr (Place == std::variant_size_v<GgufValue>) {
      in_.refuse(cat("the key \"", printable(key, 200), "\" is of type ", type, ", which is none"));
    } else {
      if (type != Place) return value<Place + 1>(type, key);
      using Type = std::variant_alternative_t<Place, GgufValue>;
      if constexpr (std::is_same_v<Type, GgufList>) {
        const auto of = in_.number<std::uint32_t>("the type of a list");
        return list<0>(of, key);
      } else {
        return GgufValue(std::in_place_index<Place>, one<Type>(key));
      }
    }
  }

  template <class Type>
  Type one(const std::string& key) {
    const auto what = cat("the value of \"", printable(key, 200), "\"");
    if constexpr (std::is_same_v<Type, std::string>) {
      return in_.text(what);
    } else if constexpr (std::is_same_v<Type, bool>) {
      const auto byte = in_.number<std::uint8_t>(what);
      if (byte > 1) in_.refuse(cat(what, " is ", byte, ", neither true nor false"));
      return byte == 1;
    } else {
      return in_.number<Type>(what);
    }
  }

  template <std::size_t Place>
  GgufList list(std::uint32_t type, const std::string& key) {
    if constexpr (Place == std::variant_size_v<GgufList>) {
      in_.refuse(
          cat("the key \"", printable(key, 200), "\" is a list of type ", type, ", which is none"));
    } else {
      if (type != Place) return list<Place + 1>(type, key);
      using Type = std::variant_alternative_t<Place, GgufList>;
      if constexpr (std::is_same_v<Type, std::monostate>)
        in_.refuse(cat("the key \"", printable(key, 200),
                       "\" is a list of lists, which llama.cpp does not read either"));
      else
        return GgufList(std::in_place_index<Place>, values<typename Type::value_type>(key));
    }
  }

  template <class Type>
  std::vector<Type> values(const std::string& key) {
    constexpr std::uint64_t kLeast = std::is_same_v<Type, std::string> ? 8 : sizeof(Type);
    const auto count = in_.count(kLeast, cat("the length of \"", printable(key, 200), "\""));
    std::vector<Type> out;
    for (std::uint64_t i = 0; i < count; ++i) out.push_back(one<Type>(key));
    return out;
  }

  void read_alignment() {
    const auto* value = header_.keys.find("general.alignment");
    if (value == nullptr) return;
    const auto* number = std::get_if<std::uint32_t>(value);
    if (number == nullptr || *number == 0 || *number > kMostAlignment ||
        (*number & (*number - 1)) != 0)
      in_.refuse("general.alignment is no power of two of type uint32, up to 2^20");
    alignment_ = *number;
  }

  void read_tensor() {
    GgufTensor tensor;
    tensor.name = read_name("the name of a tensor");
    const auto shown_name = cat("tensor \"", printable(tensor.name, 200), "\"");
    if (!names_.insert(tensor.name).second) in_.refuse(cat(shown_name, " stands there twice"));
    const auto dimensions = in_.number<std::uint32_t>("the dimensions of a tensor");
    if (dimensions > kMostDimensions)
      in_.refuse(
          cat(shown_name, " has ", dimensions, " dimensions; ", kMostDimensions, " are the most"));
    for (std::uint32_t i = 0; i < dimensions; ++i) {
      const auto size = in_.number<std::int64_t>("a dimension of a tensor");
      if (size < 0)
        in_.refuse(cat(shown_name, ": a dimension of ", static_cast<std::uint64_t>(size)));
      tensor.shape.insert(tensor.shape.begin(), size);
    }
    tensor.type = in_.number<std::uint32_t>("the type of a tensor");
    tensor.begin = in_.number<std::uint64_t>("the place of a tensor");
    tensor.end = bytes_of_tensor(tensor, shown_name);  // after its beginning, until it is placed
    header_.tensors.push_back(std::move(tensor));
  }

  std::uint64_t bytes_of_tensor(const GgufTensor& tensor, const std::string& shown_name) const {
    const auto layout = ggml_layout(tensor.type);
    if (!layout) in_.refuse(cat(shown_name, " is of type ", tensor.type, ", which is none"));
    const auto row = tensor.shape.empty() ? 1 : static_cast<std::uint64_t>(tensor.shape.back());
    if (row % layout->block_values != 0)
      in_.refuse(
          cat(shown_name, ": rows of ", row, " values are no whole blocks of ", layout->name));
    std::uint64_t bytes = layout->block_bytes, values = 1;
    for (const auto size : tensor.shape)
      if (__builtin_mul_overflow(values, static_cast<std::uint64_t>(size), &values))
        in_.refuse(cat(shown_name, ": the shape overflows"));
    if (__builtin_mul_overflow(bytes, values / layout->block_values, &bytes))
      in_.refuse(cat(shown_name, ": the shape overflows"));
    return bytes;
  }

  /// Each begins where the one before it ends, at the next multiple of the alignment.
  void place_tensors() {
    const auto aligned = [&](std::uint64_t at) {
      return (at + alignment_ - 1) / alignment_ * alignment_;
    };
    std::ranges::stable_sort(header_.tensors, {}, [](const auto& tensor) { return tensor.begin; });
    // Without tensors nothing need follow the keys.
    const auto data = header_.tensors.empty() ? in_.at() : aligned(in_.at());
    std::uint64_t at = 0;
    for (auto& tensor : header_.tensors) {
      const auto refuse = [&](const std::string& what) {
        in_.refuse(cat("tensor \"", printable(tensor.name, 200), "\" ", what));
      };
      if (tensor.begin % alignment_ != 0)
        refuse(cat("begins at ", tensor.begin, ", which is no multiple of ", alignment_));
      if (tensor.begin != aligned(at))
        refuse(tensor.begin < aligned(at) ? "overlaps the one before" : "leaves a hole before it");
      if (data > file_.size() || tensor.begin > file_.size() - data ||
          tensor.end > file_.size() - data - tensor.begin)
        refuse("ends beyond the file");
      at = tensor.begin + tensor.end;
      tensor.end = data + at;
      tensor.begin += data;
    }
    if (file_.size() > aligned(data + at))
      in_.refuse(cat(file_.size() - aligned(data + at), " bytes follow the last tensor"));
  }

  const FileReader& file_;
  GgufCursor in_;
  GgufHeader header_;
  std::unordered_set<std::string> keys_, names_;
  std::uint64_t alignment_ = 32;
};

}  // namespace

const GgufValue* GgufKeys::find(std::string_view key) const {
  const auto found = std::ranges::find(entries_, key, &Entry::first);
  return found == entries_.end() ? nullptr : &found->second;
}

void GgufKeys::add(std::string key, GgufValue value) {
  entries_.emplace_back(std::move(key), std::move(value));
}

GgufHeader read_gguf(const FileReader& file, std::string_view where) {
  return GgufReader(file, where).read();
}

void read_gguf_values(const FileReader& file, const GgufTensor& tensor, std::string_view where,
                      const ValueSink& sink) {
  const auto type = static_cast<GgmlType>(tensor.type);
  if (type != GgmlType::f32 && type != GgmlType::f16 && type != GgmlType::bf16 &&
      type != GgmlType::q8_0)
    throw CheckpointError(cat(where, ": tensor \"", printable(tensor.name, 200), "\" is ",
                              ggml_layout(tensor.type)->name,
                              "; makemoe reads F32, F16, BF16 and Q8_0: take such a file"));
  const auto layout = layout_of(type);
  constexpr std::uint64_t kBlocks = 4096;
  std::string bytes;
  std::vector<float> values;
  for (auto at = tensor.begin; at < tensor.end; at += bytes.size()) {
    bytes.resize(std::min(kBlocks * layout.block_bytes, tensor.end - at));
    file.read(at, bytes);
    values.resize(bytes.size() / layout.block_bytes * layout.block_values);
    read_values(type, bytes, values);
    sink(values);
  }
}

}  // namespace moe
