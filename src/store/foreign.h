#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace moe {

/// As many bytes of the front tell the kind.
inline constexpr std::size_t kFront = std::size_t{1} << 16U;

/// What a weights file is that is no safetensors file, and what to do: "is a NumPy archive; ...".
/// "" where it is none of the kinds that people have.
std::string foreign_weights(std::string_view bytes);

}  // namespace moe
