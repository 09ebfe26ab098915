#pragma once

#include <string>
#include <string_view>

namespace moe {

/// What a weights file is that is no safetensors file, and what to do: "is a NumPy archive; ...".
/// "" where it is none of the kinds that people have.
std::string foreign_weights(std::string_view bytes);

}  // namespace moe
