#include "moe/store/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "moe/base/json.h"
#include "moe/base/text.h"
#include "store/foreign.h"

namespace moe {

namespace {

constexpr std::uint64_t kLengthBytes = 8;
constexpr std::uint64_t kMostHeader = 100'000'000;  // as the reference reader
constexpr int kMostDepth = 5;

struct Dtype {
  std::string_view name;
  std::uint64_t bits;
};
/// All of the format, that a file with others than makemoe's is not taken for a damaged one.
constexpr std::array<Dtype, 22> kDtypes{
    {{"C64", 64},    {"F64", 64},    {"I64", 64},        {"U64", 64},    {"F32", 32},
     {"I32", 32},    {"U32", 32},    {"F16", 16},        {"BF16", 16},   {"I16", 16},
     {"U16", 16},    {"F8_E4M3", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2", 8}, {"F8_E5M2FNUZ", 8},
     {"F8_E8M0", 8}, {"I8", 8},      {"U8", 8},          {"BOOL", 8},    {"F6_E2M3", 6},
     {"F6_E3M2", 6}, {"F4", 4}}};

/// Bits of one element of a dtype, 0 for one that is not known.
std::uint64_t dtype_bits(std::string_view dtype) {
  for (const auto& known : kDtypes)
    if (known.name == dtype) return known.bits;
  return 0;
}

/// What the first bytes of a file say; 0 where there are too few.
std::uint64_t header_length(std::string_view front) {
  std::uint64_t length = 0;
  if (front.size() >= kLengthBytes) std::memcpy(&length, front.data(), kLengthBytes);
  return length;
}

class Reader {
 public:
  Reader(std::string_view front, std::uint64_t size, std::string_view where)
      : front_(front), size_(size), where_(where) {}

  SafetensorsHeader read() {
    const auto json = header_json();
    SafetensorsHeader header;
    header.data_begin = data_begin_;
    for (const auto& [name, value] : json.items()) {
      if (name == "__metadata__")
        check_metadata(value);
      else
        header.tensors.push_back(tensor(name, value));
    }
    check_layout(header.tensors);
    return header;
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    throw CheckpointError(cat(where_, ": ", what, "; the file is damaged or no safetensors file"));
  }

  Json header_json() {
    if (size_ < kLengthBytes) refuse(cat(size_, " bytes are too short for a header"));
    const auto length = header_length(front_);
    if (length == 0 || length > kMostHeader || length > size_ - kLengthBytes)
      refuse(cat("header length ", length, " does not fit the file of ", size_, " bytes"));
    data_begin_ = kLengthBytes + length;
    // The JSON reader would take a NUL for the end of the text.
    if (front_.substr(kLengthBytes, length).find('\0') != std::string_view::npos)
      refuse("the header has a NUL byte");
    auto json = parse_json(front_.substr(kLengthBytes, length), cat(where_, ": header"),
                           ErrorKind::checkpoint, {kMostHeader, kMostDepth});
    if (!json.is_object()) refuse("the header is no JSON object");
    return json;
  }

  void check_metadata(const Json& value) const {
    if (value.is_null()) return;
    if (!value.is_object()) refuse("__metadata__ is no object");
    for (const auto& item : value.items())
      if (!item.value().is_string())
        refuse(cat("__metadata__ \"", printable(item.key()), "\" is no text"));
  }

  TensorInfo tensor(const std::string& name, const Json& value) const {
    const auto bad = [&](std::string_view what) {
      refuse(cat("tensor \"", printable(name, 200), "\": ", what));
    };
    if (!value.is_object() || value.size() != 3 || !value.contains("dtype") ||
        !value.contains("shape") || !value.contains("data_offsets"))
      bad("dtype, shape and data_offsets are expected");
    const auto &dtype = value.at("dtype"), &shape = value.at("shape"),
               &offsets = value.at("data_offsets");
    if (!dtype.is_string() || dtype_bits(dtype.get_ref<const std::string&>()) == 0)
      bad(cat("dtype ", shown(dtype), " is not known"));
    if (!shape.is_array()) bad("shape is no list");
    if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
        !offsets[1].is_number_unsigned())
      bad("data_offsets is no pair of byte numbers");
    TensorInfo info{name,
                    dtype.get<std::string>(),
                    {},
                    offsets[0].get<std::uint64_t>(),
                    offsets[1].get<std::uint64_t>()};
    auto bits = dtype_bits(info.dtype);
    for (const auto& size : shape) {
      if (!size.is_number_unsigned() || size.get<std::uint64_t>() > INT64_MAX)
        bad("a size in shape is no count");
      info.shape.push_back(size.get<std::int64_t>());
      if (__builtin_mul_overflow(bits, size.get<std::uint64_t>(), &bits))
        bad("the shape overflows");
    }
    if (info.begin > info.end || info.end > size_ - data_begin_)
      bad("data_offsets lie outside of the file");
    if (bits % 8 != 0) bad("its shape takes no whole number of bytes");
    if (info.end - info.begin != bits / 8)
      bad(cat("its shape takes ", bits / 8, " bytes, its data_offsets ", info.end - info.begin));
    return info;
  }

  void check_layout(std::vector<TensorInfo>& tensors) const {
    std::sort(tensors.begin(), tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
      return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
    });
    std::uint64_t at = 0;
    for (const auto& info : tensors) {
      if (info.begin != at)
        refuse(cat("tensor \"", printable(info.name, 200), "\" ",
                   info.begin < at ? "overlaps the one before" : "leaves a hole before it"));
      at = info.end;
    }
    if (at != size_ - data_begin_)
      refuse(cat(size_ - data_begin_ - at, " bytes follow the last tensor"));
  }

  std::string_view front_;
  std::uint64_t size_;
  std::string_view where_;
  std::uint64_t data_begin_ = 0;
};

}  // namespace

SafetensorsHeader parse_safetensors(std::string_view front, std::uint64_t size,
                                    std::string_view where) {
  // What is no safetensors file has its own name for it, and no header begins with that.
  const bool may_be_one = front.size() > kLengthBytes && front[kLengthBytes] == '{';
  if (const auto kind = foreign_weights(front); !kind.empty() && !may_be_one)
    throw CheckpointError(cat(where, ": ", kind));
  return Reader(front, size, where).read();
}

SafetensorsHeader read_safetensors(const FileReader& file, std::string_view where) {
  std::string front(std::min(kLengthBytes, file.size()), '\0');
  file.read(0, front);
  // A length that no header has is refused by the reader; until then the front tells the kind.
  const auto length = header_length(front);
  const auto header = length > kMostHeader ? 0 : kLengthBytes + length;
  front.resize(std::min(std::max<std::uint64_t>(kFront, header), file.size()));
  file.read(0, front);
  return parse_safetensors(front, file.size(), where);
}

std::string write_safetensors_header(std::span<TensorInfo> tensors, std::string_view format) {
  Json json = Json::object();
  if (!format.empty()) json["__metadata__"] = {{"format", format}};
  std::uint64_t at = 0;
  for (auto& tensor : tensors) {
    auto bits = dtype_bits(tensor.dtype);
    for (const auto size : tensor.shape) bits *= static_cast<std::uint64_t>(size);
    tensor.begin = at;
    tensor.end = at += bits / 8;
    json[tensor.name] = {{"dtype", tensor.dtype},
                         {"shape", tensor.shape},
                         {"data_offsets", {tensor.begin, tensor.end}}};
  }
  auto text = json_text(json);
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const std::uint64_t length = text.size();
  std::string out(kLengthBytes, '\0');
  std::memcpy(out.data(), &length, kLengthBytes);
  return out + text;
}

}  // namespace moe
