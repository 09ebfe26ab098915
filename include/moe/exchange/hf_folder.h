#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "moe/base/file.h"
#include "moe/config/config.h"
#include "moe/data/tokenizer.h"
#include "moe/exchange/foreign_tensors.h"
#include "moe/exchange/hf_config.h"

namespace moe {

// Folders that transformers loads (ADR 58): config.json, the weights, the tokenizer, and where no
// model of theirs computes what ours does, a model of our own in Python.

/// How weights lie in a folder.
enum class FolderDtype { f32, f16, bf16 };
template <>
struct EnumNames<FolderDtype> {
  static constexpr std::array<std::string_view, 3> names{"f32", "f16", "bf16"};
};

/// A model of ours with its values under their published names.
struct OwnModel {
  const ModelConfig& config;
  const ModelSpec& spec;
  const Tokenizer& tokenizer;
  ValuesOf values;
};

/// A file of a folder that is to be written.
struct FolderFile {
  std::string name;
  std::vector<std::string> pieces;  // its bytes, one after another
};

/// What a folder consists of, config.json last.
struct Folder {
  std::vector<FolderFile> files;
  /// The twin that transformers knows, or the keys that stand in its way.
  TwinAnswer answer;
};

/// Makes the files in memory, which holds as many bytes as they have.
Folder make_folder(const OwnModel& model, FolderDtype dtype);

/// Writes them into a folder that is new or empty: it appears whole or not at all. With `force`
/// also into one that is neither, whose other files stay: each file is replaced whole, and
/// config.json, without which nobody takes the folder for a model, goes first and comes last.
/// Throws ResourceError.
void write_folder(const std::filesystem::path& out, const std::vector<FolderFile>& files,
                  bool force, FileLayer& layer);

}  // namespace moe
