#include "moe/sample/sampler.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "moe/base/error.h"
#include "moe/base/text.h"
#include "moe/kernels/exponentials.h"

namespace moe {

namespace {

void require(bool in_range, const char* option, double value, const char* range) {
  // Written so that NaN, for which every comparison is false, is refused as well.
  if (!in_range)
    throw ConfigError(cat(option, ": ", value, " is out of range; it must be ", range));
}

constexpr std::size_t kLanes = 8;  // results side by side: a processor computes several at once

/// Folds all values into one, those of each lane in order and then the lanes.
template <class Combine>
double fold(std::span<const double> values, double first, const Combine& combine) {
  std::array<double, kLanes> lanes;
  lanes.fill(first);
  std::size_t i = 0;
  for (; i + kLanes <= values.size(); i += kLanes)
    for (std::size_t lane = 0; lane < kLanes; ++lane)
      lanes[lane] = combine(lanes[lane], values[i + lane]);
  for (; i < values.size(); ++i) lanes[0] = combine(lanes[0], values[i]);
  for (std::size_t lane = 1; lane < kLanes; ++lane) lanes[0] = combine(lanes[0], lanes[lane]);
  return lanes[0];
}
double largest_of(std::span<const double> values) {
  return fold(values, values.front(), [](double a, double b) { return a > b ? a : b; });
}
double sum_of(std::span<const double> values) { return fold(values, 0, std::plus<>()); }

/// Throws NumericsError for the first that is not finite.
void require_finite(std::span<const float> logits) {
  int others = 0;  // counted to the end, which is faster than to stop at the first
  for (const auto value : logits) others += std::isfinite(value) ? 0 : 1;
  if (others == 0) return;
  const auto bad = std::ranges::find_if(logits, [](float value) { return !std::isfinite(value); });
  throw NumericsError(cat("sampling: the logit of symbol ", bad - logits.begin(), " is ", *bad,
                          "; the weights have diverged, use an earlier checkpoint"));
}

/// Makes each token seen less likely, once however often it was seen.
void penalise(std::vector<double>& logits, std::span<const std::int32_t> seen, double penalty) {
  if (penalty == 1) return;
  constexpr double kLargest = std::numeric_limits<double>::max();
  std::vector<bool> done(logits.size(), false);
  for (const auto token : seen) {
    const auto id = static_cast<std::size_t>(token);
    if (id >= logits.size() || done[id]) continue;
    done[id] = true;
    const double changed = logits[id] > 0 ? logits[id] / penalty : logits[id] * penalty;
    logits[id] = std::clamp(changed, -kLargest, kLargest);  // an extreme penalty must not make inf
  }
}

/// exp((logit - largest) / temperature): the probabilities up to a factor, the largest being 1, so
/// that no logit or temperature overflows. In float, as the logits are.
std::vector<double> weights_of(std::span<const double> logits, double temperature) {
  const double largest = largest_of(logits);
  constexpr double kFarBelow = -1000;  // e^-1000 is 0 in float, which holds less than double does
  std::vector<float> weights(logits.size());
  std::ranges::transform(logits, weights.begin(), [&](double logit) {
    return static_cast<float>(std::max((logit - largest) / temperature, kFarBelow));
  });
  kernels::exponentials(weights);
  return {weights.begin(), weights.end()};
}

/// Ids from the most to the least likely, ties in id order, sorted only as far as somebody asks: of
/// a large vocabulary few count.
class Ranking {
 public:
  explicit Ranking(const std::vector<double>& weights) : weights_(weights), rest_(weights.size()) {
    std::iota(rest_.begin(), rest_.end(), std::size_t{0});
    std::make_heap(rest_.begin(), rest_.end(), Less{weights_});
  }
  std::size_t operator[](std::size_t rank) {
    while (ranked_.size() <= rank) {
      std::pop_heap(rest_.begin(), rest_.end(), Less{weights_});
      ranked_.push_back(rest_.back());
      rest_.pop_back();
    }
    return ranked_[rank];
  }

 private:
  struct Less {
    const std::vector<double>& weights;
    bool operator()(std::size_t a, std::size_t b) const {
      return weights[a] != weights[b] ? weights[a] < weights[b] : a > b;
    }
  };

  const std::vector<double>& weights_;
  std::vector<std::size_t> ranked_, rest_;  // rest_: a heap
};

/// How many of the `most` likely make up `share` of their weights, one at least.
std::size_t nucleus_size(const std::vector<double>& weights, Ranking& ranked, std::size_t most,
                         double share) {
  double total = 0, sum = 0;
  if (most < weights.size())
    for (std::size_t i = 0; i < most; ++i) total += weights[ranked[i]];
  else
    total = sum_of(weights);
  std::size_t size = 0;
  while (size < most && sum < share * total) sum += weights[ranked[size++]];
  return std::max<std::size_t>(1, size);
}

/// Sets to zero all weights but the top_k largest, and of those all but the nucleus.
void truncate_ranks(std::vector<double>& weights, const SamplerOptions& options) {
  const auto all = weights.size();
  auto most = options.top_k > 0 ? std::min(static_cast<std::size_t>(options.top_k), all) : all;
  if (most == all && options.top_p >= 1) return;
  Ranking ranked(weights);
  if (options.top_p < 1) most = nucleus_size(weights, ranked, most, options.top_p);
  std::vector<double> kept(all, 0);
  for (std::size_t i = 0; i < most; ++i) kept[ranked[i]] = weights[ranked[i]];
  weights = std::move(kept);
}

/// Sets to zero the weights below `fraction` of the largest.
void truncate_unlikely(std::vector<double>& weights, double fraction) {
  if (fraction == 0) return;
  const double least = fraction * largest_of(weights);
  for (auto& weight : weights)
    if (weight < least) weight = 0;
}

/// The id in whose part of the cumulative weights, in id order, u falls: block by block, and then
/// within one.
std::size_t invert(std::span<const double> weights, double u) {
  constexpr std::size_t kBlock = 64;
  std::vector<double> sums;
  for (std::size_t i = 0; i < weights.size(); i += kBlock)
    sums.push_back(sum_of(weights.subspan(i, std::min(kBlock, weights.size() - i))));
  const double target = u * std::accumulate(sums.begin(), sums.end(), 0.0);
  std::size_t block = 0;
  double before = 0, sum = 0;
  for (std::size_t i = 0; i < sums.size() && sum <= target; ++i) {
    if (sums[i] == 0) continue;
    block = i;
    before = sum;
    sum += sums[i];
  }
  sum = before;
  // Rounding may leave the target at the very end: then it is the last one kept.
  std::size_t last = block * kBlock;
  const auto end = std::min(last + kBlock, weights.size());
  for (auto id = last; id < end && sum <= target; ++id) {
    if (weights[id] == 0) continue;
    sum += weights[id];
    last = id;
  }
  return last;
}

}  // namespace

void check_sampler_options(const SamplerOptions& o) {
  // Beyond these ranges an option is another one in all but its name: greedy, uniform, or none.
  require(o.temperature == 0 || (o.temperature >= 1e-6 && o.temperature <= 1e6), "temperature",
          o.temperature, "0 (greedy), or from 1e-06 to 1e+06");
  require(o.top_k >= 0, "top_k", static_cast<double>(o.top_k), "at least 0 (0 is all)");
  require(o.top_p >= 1e-9 && o.top_p <= 1, "top_p", o.top_p, "from 1e-09 to 1 (1 is all)");
  require(o.min_p == 0 || (o.min_p >= 1e-9 && o.min_p <= 1), "min_p", o.min_p,
          "0 (all), or from 1e-09 to 1");
  require(o.repetition_penalty >= 0.01 && o.repetition_penalty <= 100, "repetition_penalty",
          o.repetition_penalty, "from 0.01 to 100 (1 is none)");
}

std::int32_t choose_token(std::span<const float> logits, std::span<const std::int32_t> seen,
                          const SamplerOptions& options, double u) {
  if (logits.empty()) throw std::logic_error("choose_token: no logits");
  require_finite(logits);
  std::vector<double> values(logits.begin(), logits.end());
  penalise(values, seen, options.repetition_penalty);
  if (options.temperature == 0)
    return static_cast<std::int32_t>(std::max_element(values.begin(), values.end()) -
                                     values.begin());
  auto weights = weights_of(values, options.temperature);
  truncate_ranks(weights, options);
  truncate_unlikely(weights, options.min_p);
  return static_cast<std::int32_t>(invert(weights, u));
}

}  // namespace moe
