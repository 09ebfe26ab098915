#pragma once

#include <string_view>

namespace moe::report {

/// CSS of every page: light, dark by the reader's choice, and paper.
std::string_view style_sheet();

}  // namespace moe::report
