#pragma once

#include <string>

#include "cli/session.h"
#include "moe/cli/app.h"

namespace moe::cli {

/// Writes a model as a GGUF file. `dtype` is a name of the command line, "" for the default.
int write_gguf_file(const std::string& out, const std::string& dtype, LoadedModel& loaded,
                    const Services& services);

/// Whether a file that is to be imported begins as GGUF files do. A pipe, which is read once, is
/// none.
bool is_gguf_file(const std::string& path);

/// Makes a run at step 0 of a GGUF file: its model and its tokenizer, and all else of the config
/// `base`, "" for the defaults.
void import_gguf_file(const std::string& path, const std::string& base, WeightValues values,
                      const std::string& out, const Services& services);

}  // namespace moe::cli
