#pragma once

#include <string>
#include <vector>

#include "moe/base/json.h"
#include "moe/exchange/hf_config.h"

namespace moe {

/// What the keys of a config.json say, those of transformers alone.
struct FolderKeys {
  FolderModel model;
  std::vector<std::string> problems;  // what we do not have, by its key
  std::vector<std::string> unread;    // keys that are unknown here
};

/// `json` is an object, of a model of this architecture.
FolderKeys read_folder_keys(const Json& json, Architecture architecture);

}  // namespace moe
