#pragma once

#include <span>
#include <string_view>

namespace moe {

/// A file of src/exchange/python, which a folder of transformers brings along.
struct FolderText {
  std::string_view name, text;
};

/// All of them, sorted by name; CMake writes this function (moe_texts of cmake/Room.cmake).
std::span<const FolderText> folder_texts();

}  // namespace moe
