#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace moe::fuzz {

// What one reader of hostile bytes gives to the driver (driver.cpp).

/// Sound inputs to begin with.
std::vector<std::string> seeds();
/// Reads the bytes as the program would. A moe::Error is an answer; anything else that is thrown,
/// and whatever the sanitizers see, is a bug.
void read(std::string_view bytes);

/// Files of tests/golden, to be seeds.
std::vector<std::string> golden(const std::vector<std::string>& names);

}  // namespace moe::fuzz
