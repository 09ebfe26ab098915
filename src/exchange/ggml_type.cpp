#include "moe/exchange/ggml_type.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>

namespace moe {

namespace {

static_assert(std::endian::native == std::endian::little, "GGUF files are little-endian");

struct NumberedLayout {
  std::uint32_t number;
  GgmlLayout layout;
};
/// ggml's, with the sizes of the Python package gguf 0.19.
constexpr std::array<NumberedLayout, 34> kLayouts{
    {{0, {"F32", 1, 4}},         {1, {"F16", 1, 2}},         {2, {"Q4_0", 32, 18}},
     {3, {"Q4_1", 32, 20}},      {6, {"Q5_0", 32, 22}},      {7, {"Q5_1", 32, 24}},
     {8, {"Q8_0", 32, 34}},      {9, {"Q8_1", 32, 40}},      {10, {"Q2_K", 256, 84}},
     {11, {"Q3_K", 256, 110}},   {12, {"Q4_K", 256, 144}},   {13, {"Q5_K", 256, 176}},
     {14, {"Q6_K", 256, 210}},   {15, {"Q8_K", 256, 292}},   {16, {"IQ2_XXS", 256, 66}},
     {17, {"IQ2_XS", 256, 74}},  {18, {"IQ3_XXS", 256, 98}}, {19, {"IQ1_S", 256, 50}},
     {20, {"IQ4_NL", 32, 18}},   {21, {"IQ3_S", 256, 110}},  {22, {"IQ2_S", 256, 82}},
     {23, {"IQ4_XS", 256, 136}}, {24, {"I8", 1, 1}},         {25, {"I16", 1, 2}},
     {26, {"I32", 1, 4}},        {27, {"I64", 1, 8}},        {28, {"F64", 1, 8}},
     {29, {"IQ1_M", 256, 56}},   {30, {"BF16", 1, 2}},       {34, {"TQ1_0", 256, 54}},
     {35, {"TQ2_0", 256, 66}},   {39, {"MXFP4", 32, 17}},    {40, {"NVFP4", 64, 36}},
     {41, {"Q1_0", 128, 18}}}};

constexpr std::size_t kBlock = 32;  // values of Q8_0
constexpr std::size_t kBlockBytes = 2 + kBlock;

template <class T>
void append_bits(std::string& out, T value) {
  std::array<char, sizeof(T)> bytes{};
  std::memcpy(bytes.data(), &value, sizeof(T));
  out.append(bytes.data(), bytes.size());
}

template <class T>
T bits_at(std::string_view bytes, std::size_t place) {
  T value;
  std::memcpy(&value, bytes.data() + place * sizeof(T), sizeof(T));
  return value;
}

/// Of NaN and infinity: one that would lose all its bits stays NaN.
std::uint32_t non_finite_float16(std::uint32_t mantissa) {
  if (mantissa == 0) return 0x7C00U;
  const auto kept = mantissa >> 13U;
  return 0x7C00U | (kept == 0 ? 1U : kept);
}

/// The whole number nearest to `value`, ties to even; `value` is below 2^24 and not negative.
std::uint32_t to_even(float value) { return static_cast<std::uint32_t>(std::nearbyintf(value)); }

/// The byte of a scaled value as a processor's conversion leaves it: 0 of what no int32 is.
std::int8_t q8_of(float scaled) {
  constexpr float kMost = 2147483648.0F;
  if (!(std::fabs(scaled) < kMost)) return 0;
  return static_cast<std::int8_t>(static_cast<std::int32_t>(std::roundf(scaled)));
}

float largest_magnitude(std::span<const float> values) {
  float most = 0;
  for (const auto value : values) {
    if (std::isnan(value)) return std::numeric_limits<float>::quiet_NaN();
    most = std::max(most, std::fabs(value));
  }
  return most;
}

void append_q8_block(std::span<const float> values, std::string& out) {
  constexpr float kSteps = 127;
  const float step = largest_magnitude(values) / kSteps;
  const float inverse = step == 0 ? 0 : 1 / step;
  append_bits(out, float16_bits(step));
  for (const auto value : values) out += static_cast<char>(q8_of(value * inverse));
}

void read_q8_blocks(std::string_view bytes, std::span<float> values) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto block = bytes.substr(i / kBlock * kBlockBytes, kBlockBytes);
    const float step = float16_value(bits_at<std::uint16_t>(block, 0));
    values[i] = step * static_cast<float>(static_cast<std::int8_t>(block[2 + i % kBlock]));
  }
}

}  // namespace

std::optional<GgmlLayout> ggml_layout(std::uint32_t type) {
  for (const auto& known : kLayouts)
    if (known.number == type) return known.layout;
  return std::nullopt;
}

std::uint16_t float16_bits(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = bits >> 16U & 0x8000U;
  const auto magnitude = bits & 0x7FFFFFFFU;
  const auto signed_bits = [&](std::uint32_t rest) {
    return static_cast<std::uint16_t>(sign | rest);
  };
  if (magnitude >= 0x7F800000U) return signed_bits(non_finite_float16(magnitude & 0x007FFFFFU));
  constexpr std::uint32_t kOverflow = 0x477FF000U;  // 65520, halfway to what the next one would be
  if (magnitude >= kOverflow) return signed_bits(0x7C00U);
  constexpr std::uint32_t kNormal = 0x38800000U;  // 2^-14
  if (magnitude < kNormal)                        // in steps of 2^-24
    return signed_bits(to_even(std::bit_cast<float>(magnitude) * 0x1p24F));
  const auto rounded = magnitude + 0x0FFFU + (magnitude >> 13U & 1U);
  return signed_bits((rounded - 0x38000000U) >> 13U);
}

float float16_value(std::uint16_t bits) {
  const std::uint32_t sign = (bits & 0x8000U) << 16U, rest = bits & 0x7FFFU;
  if (rest >= 0x7C00U) return std::bit_cast<float>(sign | 0x7F800000U | (rest & 0x03FFU) << 13U);
  const float magnitude = rest < 0x0400U ? static_cast<float>(rest) * 0x1p-24F
                                         : std::bit_cast<float>((rest << 13U) + 0x38000000U);
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
}

std::uint16_t bfloat16_bits(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  constexpr std::uint32_t kQuiet = 0x0040U;
  if (std::isnan(value)) return static_cast<std::uint16_t>(bits >> 16U | kQuiet);
  return static_cast<std::uint16_t>((bits + 0x7FFFU + (bits >> 16U & 1U)) >> 16U);
}

float bfloat16_value(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16U);
}

void append_values(GgmlType type, std::span<const float> values, std::string& out) {
  if (values.size() % layout_of(type).block_values != 0)
    throw std::logic_error("values of a tensor are no whole blocks");
  switch (type) {
    case GgmlType::f32:
      out.append(reinterpret_cast<const char*>(values.data()), values.size_bytes());
      return;
    case GgmlType::f16:
      for (const auto value : values) append_bits(out, float16_bits(value));
      return;
    case GgmlType::bf16:
      for (const auto value : values) append_bits(out, bfloat16_bits(value));
      return;
    case GgmlType::q8_0:
      for (std::size_t at = 0; at < values.size(); at += kBlock)
        append_q8_block(values.subspan(at, kBlock), out);
      return;
  }
  throw std::logic_error("no such type of values");
}

void read_values(GgmlType type, std::string_view bytes, std::span<float> values) {
  const auto layout = layout_of(type);
  if (bytes.size() / layout.block_bytes * layout.block_values != values.size())
    throw std::logic_error("bytes of a tensor are no whole blocks");
  if (type == GgmlType::q8_0) return read_q8_blocks(bytes, values);
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = type == GgmlType::f32   ? bits_at<float>(bytes, i)
                : type == GgmlType::f16 ? float16_value(bits_at<std::uint16_t>(bytes, i))
                                        : bfloat16_value(bits_at<std::uint16_t>(bytes, i));
}

}  // namespace moe
