#pragma once

#include <string>

#include "moe/base/log.h"
#include "moe/checkpoint/checkpoint.h"
#include "moe/data/token_file.h"

namespace CLI {
class App;
}

namespace moe::cli {

/// Which text a checkpoint is to be looked at with: --data FILE, --split train|val|all.
struct TextArgs {
  std::string data, split;
};
/// `args` must outlive the parsing.
void add_text(CLI::App& command, TextArgs& args);

/// The tokens that are asked for: a split of the run's own text, or of --data.
struct Target {
  std::string split;
  HeldTokens tokens;           // at least 2
  double bytes_per_token = 1;  // of those that are targets; special tokens have none
};

/// Without --data the run's own text, split val; with it all. Warns of what was folded and of
/// another text than the run's. Throws DataError.
Target read_target(const TextArgs& args, const CheckpointInfo& info, Log& log);

}  // namespace moe::cli
