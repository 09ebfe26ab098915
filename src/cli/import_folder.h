#pragma once

#include <string>

#include "moe/checkpoint/checkpoint.h"
#include "moe/cli/app.h"

namespace moe::cli {

/// A folder of transformers that is to become a run.
struct FolderImport {
  std::string folder;
  std::string config;  // of all that is not the model; "": the defaults
  std::string vocab;   // a tokenizer.json in the place of the folder's own; "": that one
  WeightValues values;
};

/// Makes a run at step 0 of it. Throws CheckpointError for what we cannot do, DataError for its
/// tokenizer.
void import_folder(const FolderImport& from, const std::string& out, const Services& services);

}  // namespace moe::cli
