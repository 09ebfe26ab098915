#pragma once

#include <string_view>

namespace moe {

std::string_view version();   // "0.1.0"
std::string_view commit();    // short hash, "-dirty" where the tree had changes
std::string_view compiler();  // "gcc 12.2.0"

}  // namespace moe
