#include <algorithm>

#include "exchange/folder_texts.h"
#include "moe/base/path.h"
#include "moe/base/text.h"
#include "moe/exchange/hf_folder.h"

namespace moe {

namespace {

constexpr const char* kConfigFile = "config.json";

void write_all(const fs::path& folder, const std::vector<FolderFile>& files, FileLayer& layer) {
  for (const auto& file : files) {
    const std::vector<std::string_view> pieces(file.pieces.begin(), file.pieces.end());
    layer.write_file(folder / file.name, pieces);
  }
  layer.sync_folder(folder);
}

/// What another export may have left there, and what would now be read in the place of our files.
std::vector<std::string> stale_files(const std::vector<FolderFile>& files) {
  std::vector<std::string> out{"model.safetensors.index.json", "pytorch_model.bin",
                               "pytorch_model.bin.index.json"};
  for (const auto& text : folder_texts()) {
    const bool is_new =
        std::ranges::any_of(files, [&](const FolderFile& file) { return file.name == text.name; });
    if (!is_new) out.emplace_back(text.name);
  }
  return out;
}

/// Moves files from one folder into another that has files of its own.
void move_into(const fs::path& from, const fs::path& to, const std::vector<FolderFile>& files,
               FileLayer& layer) {
  layer.remove(to / kConfigFile);
  layer.sync_folder(to);
  for (const auto& name : stale_files(files)) layer.remove(to / name);
  for (const auto& file : files) {
    if (file.name == kConfigFile) layer.sync_folder(to);  // all else is there by now
    layer.rename(from / file.name, to / file.name);
  }
  layer.sync_folder(to);
  layer.remove(from);
}

void refuse_place(const fs::path& out, bool force) {
  const bool there = is_there(out, ErrorKind::resource);
  if (there && !is_folder(out, ErrorKind::resource))
    throw ResourceError(cat(out.string(), ": is no folder; name a new one"));
  if (there && !force && is_occupied(out))
    throw ResourceError(cat(out.string(),
                            ": is not empty; name a new folder, or replace the model in this one "
                            "with --force"));
}

}  // namespace

void write_folder(const fs::path& out, const std::vector<FolderFile>& files, bool force,
                  FileLayer& layer) {
  refuse_place(out, force);
  const auto target = behind_links(absolute_path(out));
  const auto parent = target.parent_path();
  layer.make_folder(parent);
  const auto temporary = temporary_next_to(target);
  try {
    layer.make_folder(temporary);
    write_all(temporary, files, layer);
    if (!entries_of(target, ErrorKind::resource).empty()) {
      move_into(temporary, target, files, layer);
    } else {
      layer.rename(temporary, target);
      layer.sync_folder(parent);
    }
  } catch (const Error&) {
    std::error_code ignored;
    fs::remove_all(temporary, ignored);
    throw;
  }
}

}  // namespace moe
