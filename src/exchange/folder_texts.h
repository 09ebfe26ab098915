#pragma once

#include <span>
#include <string_view>

namespace moe {

/// A file of src/exchange/python, which a folder of transformers brings along.
struct FolderText {
  std::string_view name, text;
};

/// All of them, sorted by name; CMake writes this function (cmake/folder_texts.cmake).
std::span<const FolderText> folder_texts();

}  // namespace moe
