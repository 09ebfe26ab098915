#include <array>
#include <cstring>
#include <stdexcept>

#include "moe/base/text.h"
#include "moe/exchange/gguf_file.h"

namespace moe {

namespace {

constexpr std::uint32_t kVersion = 3;
constexpr std::uint64_t kAlignment = 32;  // that of a file which names none

template <class T>
void put(std::string& out, T value) {
  std::array<char, sizeof(T)> bytes{};
  std::memcpy(bytes.data(), &value, sizeof(T));
  out.append(bytes.data(), bytes.size());
}

void put(std::string& out, const std::string& text) {
  put(out, static_cast<std::uint64_t>(text.size()));
  out += text;
}

void put(std::string& out, const GgufList& list) {
  put(out, static_cast<std::uint32_t>(list.index()));
  std::visit(
      [&]<class List>(const List& values) {
        if constexpr (std::is_same_v<List, std::monostate>) {
          throw std::logic_error("a list of lists has no values");
        } else {
          put(out, static_cast<std::uint64_t>(values.size()));
          for (const typename List::value_type& value : values) put(out, value);
        }
      },
      list);
}

std::uint64_t padded(std::uint64_t size) {
  return (size + kAlignment - 1) / kAlignment * kAlignment;
}

std::uint64_t values_of_shape(const GgufSource& tensor) {
  std::uint64_t count = 1;
  for (const auto size : tensor.shape) count *= static_cast<std::uint64_t>(size);
  return count;
}

std::uint64_t bytes_of_source(const GgufSource& tensor) {
  const auto layout = layout_of(tensor.type);
  return values_of_shape(tensor) / layout.block_values * layout.block_bytes;
}

std::string front_of(const GgufKeys& keys, std::span<const GgufSource> tensors) {
  std::string out = "GGUF";
  put(out, kVersion);
  put(out, static_cast<std::uint64_t>(tensors.size()));
  put(out, static_cast<std::uint64_t>(keys.entries().size()));
  for (const auto& [key, value] : keys.entries()) {
    put(out, key);
    put(out, static_cast<std::uint32_t>(value.index()));
    std::visit([&](const auto& held) { put(out, held); }, value);
  }
  std::uint64_t at = 0;
  for (const auto& tensor : tensors) {
    put(out, tensor.name);
    put(out, static_cast<std::uint32_t>(tensor.shape.size()));
    for (auto size = tensor.shape.rbegin(); size != tensor.shape.rend(); ++size)
      put(out, static_cast<std::uint64_t>(*size));
    put(out, static_cast<std::uint32_t>(tensor.type));
    put(out, at);
    at += padded(bytes_of_source(tensor));
  }
  out.resize(padded(out.size()), '\0');
  return out;
}

void write_tensor(const GgufSource& tensor, const ByteSink& sink) {
  std::uint64_t values = 0;
  std::string bytes;
  tensor.values([&](std::span<const float> piece) {
    bytes.clear();
    append_values(tensor.type, piece, bytes);
    values += piece.size();
    sink(bytes);
  });
  if (values != values_of_shape(tensor))
    throw std::logic_error(cat(tensor.name, ": ", values, " values for its shape"));
  const auto size = bytes_of_source(tensor);
  sink(std::string(padded(size) - size, '\0'));
}

}  // namespace

void write_gguf(const GgufKeys& keys, std::span<const GgufSource> tensors, const ByteSink& sink) {
  sink(front_of(keys, tensors));
  for (const auto& tensor : tensors) write_tensor(tensor, sink);
}

}  // namespace moe
