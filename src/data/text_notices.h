#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace moe {

/// What people are told of a text that was mended.
std::vector<std::string> text_notices(bool had_mark, bool had_returns, std::uint64_t nul_bytes);

}  // namespace moe
