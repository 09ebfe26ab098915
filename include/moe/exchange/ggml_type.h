#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace moe {

/// How values lie in a GGUF file: those that are read and written here, with their numbers there.
enum class GgmlType : std::uint32_t { f32 = 0, f16 = 1, q8_0 = 8, bf16 = 30 };

/// A type of tensors in ggml, of which most are no GgmlType.
struct GgmlLayout {
  std::string_view name;
  std::uint64_t block_values, block_bytes;  // rows are whole blocks
};
/// nullopt for a number that ggml has given to no type.
std::optional<GgmlLayout> ggml_layout(std::uint32_t type);
inline GgmlLayout layout_of(GgmlType type) {
  return *ggml_layout(static_cast<std::uint32_t>(type));
}

// Bits of float16 and bfloat16. From float32 they are rounded to nearest, ties to even; what is too
// large becomes infinity.
std::uint16_t float16_bits(float value);
float float16_value(std::uint16_t bits);
std::uint16_t bfloat16_bits(float value);
float bfloat16_value(std::uint16_t bits);

/// Appends values, whole blocks of them, in the bytes of `type`, equal to ggml's own. Q8_0: of each
/// 32 values the largest magnitude over 127 as float16, then each value over it (before it was
/// rounded), to the nearest whole number, ties away from zero.
void append_values(GgmlType type, std::span<const float> values, std::string& out);

/// The values of whole blocks; `values` has room for exactly those.
void read_values(GgmlType type, std::string_view bytes, std::span<float> values);

}  // namespace moe
