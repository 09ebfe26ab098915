#pragma once

#include <string_view>

namespace moe {

/// Throws DataError, beginning with `where`, with the offset of the first byte that is not UTF-8.
void require_utf8(std::string_view utf8, std::string_view where, int threads = 1);

}  // namespace moe
