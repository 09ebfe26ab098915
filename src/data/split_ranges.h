#pragma once

#include <span>

namespace moe {

/// Code points from `first` to `last`, both included.
struct SplitRange {
  char32_t first, last;
};

/// Letters, numbers and white space as Hugging Face's splitter sees them, in order.
std::span<const SplitRange> letter_ranges();
std::span<const SplitRange> number_ranges();
std::span<const SplitRange> space_ranges();

}  // namespace moe
