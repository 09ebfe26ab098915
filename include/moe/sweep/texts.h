#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "moe/config/config.h"
#include "moe/data/sources.h"
#include "moe/sweep/space.h"

namespace moe::sweep {

/// The sha256 of each text that trials of a sweep learn from, by its path (ADR 37); of several
/// files together joined_sums, and of a list of names the list as JSON.
using TextSums = std::map<std::string, std::string>;

/// Reads every text that a point of `space` over `base` may name, once. Throws DataError for one
/// that is missing, that can be read only once (a pipe), or whose path is not UTF-8: a trial reads
/// it from its own config.json, and may be repeated.
TextSums sum_texts(const RunConfig& base, const Space& space);

/// The paths whose sums differ; those that only one of the two has do not count.
std::vector<std::string> changed_texts(const TextSums& before, const TextSums& now);

/// Tells whether the texts are still those that the sweep began with. A text is read again only
/// when its file looks different.
class TextWatch {
 public:
  /// `sums` may lack texts: of those it is known only whether they can be read.
  explicit TextWatch(TextSums sums) : sums_(std::move(sums)) {}

  /// Throws DataError when a text of `config` can not be read, or is another one.
  void check(const RunConfig& config);
  /// What run.json says of the text (data.sha256) when the run was trained on ours; nullopt where
  /// that is not known.
  std::optional<std::string> sum_of(const RunConfig& config) const;

 private:
  TextSums sums_;
  std::map<std::string, std::vector<FileStamp>> intact_;  // as files looked when the sum was right
};

}  // namespace moe::sweep
