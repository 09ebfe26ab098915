#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "moe/base/file.h"
#include "moe/base/json.h"
#include "moe/config/config.h"
#include "moe/sweep/journal_lock.h"
#include "moe/sweep/settings.h"
#include "moe/sweep/space.h"
#include "moe/sweep/texts.h"

namespace moe::sweep {

/// A sweep, checked: what DIR/sweep.json holds.
struct Definition {
  std::string name;  // the study's; the file's stem unless it is given
  RunConfig base;
  Json space_json;  // as written, but for the texts' names
  Space space;
  SweepSettings settings;
  TextSums texts;  // as the sweep began; empty for one of an older version

  /// Trials in all: budget.trials, and never more than the space has points.
  std::int64_t trials() const;
  bool minimizes() const { return settings.objective.direction == Direction::minimize; }
  /// Whether objective value `a` is better than `b`.
  bool better(double a, double b) const { return minimizes() ? a < b : a > b; }
};

/// Reads a sweep file; paths in it are relative to it. `data`, where not empty, is the text. Throws
/// ConfigError with every problem of the file, its base and its space at once; DataError when a
/// text can not be learned from again and again (sum_texts).
Definition load_definition(const std::filesystem::path& file, const std::string& data);

/// Complete in itself: the base inlined, every default in its place.
Json definition_to_json(const Definition& definition);
/// The reverse, of DIR/sweep.json.
Definition read_definition(const std::filesystem::path& dir);

/// Makes DIR the folder of this sweep, or continues the one there; of several at once one makes it,
/// the others wait. Unless `allow_changes`, throws DataError when a text has changed since the
/// sweep began, ConfigError with the differences when DIR holds another sweep. Throws ResourceError
/// when it holds something else, Interrupted when a signal comes in a long wait.
void open_sweep(const std::filesystem::path& dir, const Definition& definition, bool allow_changes,
                FileLayer& files, const LongWait& wait = {});

}  // namespace moe::sweep
