#pragma once

#include <string>
#include <string_view>

namespace moe {

/// What a file seems to be that is no text in UTF-8, and what to do: "is compressed with gzip;
/// ...". "" where nothing speaks against it but perhaps single bytes.
std::string foreign_kind(std::string_view bytes);

/// What is wrong at byte `bad`, the first that is not valid UTF-8, and what to do, with a guess at
/// the encoding.
std::string describe_invalid_utf8(std::string_view bytes, std::size_t bad);

}  // namespace moe
