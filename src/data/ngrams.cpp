#include "moe/data/ngrams.h"

#include <algorithm>
#include <limits>

#include "moe/base/error.h"
#include "moe/base/text.h"

namespace moe {

namespace {

struct Counted {
  std::int64_t run, count;
};

/// The numbers of all runs of `length` symbols in the text, sorted.
std::vector<std::int64_t> sorted_runs(TokenView tokens, std::int64_t length, std::int64_t symbols) {
  const auto places = static_cast<std::int64_t>(tokens.size()) - length + 1;
  std::vector<std::int64_t> runs;
  runs.reserve(static_cast<std::size_t>(std::max<std::int64_t>(places, 0)));
  tokens.visit([&](const auto* ids) {
    for (std::int64_t at = 0; at < places; ++at)
      runs.push_back(run_number(ids + at, length, symbols));
  });
  std::ranges::sort(runs);
  return runs;
}

/// Adds each run whose number over `share` is at least `least`; `outside` is what stands before it.
void add_frequent(const std::vector<std::int64_t>& runs, std::int64_t share, std::int64_t least,
                  std::int64_t outside, std::vector<Counted>& out) {
  for (std::size_t begin = 0, end = 0; begin < runs.size(); begin = end) {
    while (end < runs.size() && runs[end] == runs[begin]) ++end;
    const auto count = static_cast<std::int64_t>(end - begin) / share;
    if (count >= least) out.push_back({outside + runs[begin], count});
  }
}

NgramKeys keys_of(std::vector<Counted> runs, std::int64_t order, std::int64_t symbols) {
  std::ranges::sort(runs, {}, &Counted::run);
  NgramKeys keys{order};
  for (const auto& one : runs) {
    auto rest = one.run;
    const auto begin = static_cast<std::ptrdiff_t>(keys.symbols.size());
    for (std::int64_t i = 0; i < order; ++i, rest /= symbols + 1)
      keys.symbols.push_back(static_cast<std::int32_t>(rest % (symbols + 1)));
    std::reverse(keys.symbols.begin() + begin, keys.symbols.end());
  }
  return keys;
}

}  // namespace

NgramKeys find_ngrams(TokenView tokens, std::int64_t symbols, const NgramRequest& request) {
  const auto order = request.order;
  if (!count_runs(symbols, order))
    throw ConfigError(cat("model.ngram.orders: runs of ", order, " of ", symbols,
                          " symbols are more than 64 bits count; give shorter ones"));
  std::vector<Counted> frequent;
  for (std::int64_t length = 1; length <= order; ++length) {
    std::int64_t outside = 0;  // the digits before a run that begins before the window
    for (std::int64_t i = 0; i < order; ++i)
      outside = outside * (symbols + 1) + (i < order - length ? symbols : 0);
    add_frequent(sorted_runs(tokens, length, symbols), length < order ? request.window : 1,
                 request.min_count, outside, frequent);
  }
  if (frequent.empty())
    throw ConfigError(cat("model.ngram.min_count: no run of ", order, " symbols stands ",
                          request.min_count,
                          " times in the text; lower it, or take the order out of "
                          "model.ngram.orders"));
  const auto most =
      static_cast<std::size_t>(request.max_rows.value_or(std::numeric_limits<std::int64_t>::max()));
  if (frequent.size() > most) {
    std::ranges::stable_sort(frequent, [](const Counted& a, const Counted& b) {
      return a.count != b.count ? a.count > b.count : a.run < b.run;
    });
    frequent.resize(most);
  }
  return keys_of(std::move(frequent), order, symbols);
}

}  // namespace moe
