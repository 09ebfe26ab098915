#include "moe/data/windows.h"

#include <numeric>
#include <utility>

#include "moe/base/random.h"
#include "moe/base/text.h"

namespace moe {

namespace {

constexpr std::int64_t kMostDrawn = std::int64_t{1} << 62U;  // counting on from it cannot overflow
constexpr const char* kRemedy = "resume from another checkpoint";

constexpr const char* kComputed = "computed";  // under "shuffle" of a state; else it is listed

std::int64_t length(TokenView tokens) { return static_cast<std::int64_t>(tokens.size()); }

std::int64_t draw_below(Generator& generator, std::int64_t bound) {
  return static_cast<std::int64_t>(generator.below(static_cast<std::uint64_t>(bound)));
}

}  // namespace

WindowSampler::WindowSampler(TokenView tokens, std::int64_t block_size, WindowOrder order,
                             std::uint64_t key)
    : tokens_(tokens),
      block_size_(block_size),
      order_(order),
      key_(key),
      is_computed_((length(tokens) - 1) / block_size > kMostListed) {
  if (length(tokens) < block_size + 1)
    throw DataError(cat("the text has ", length(tokens), " symbols to train on; at least ",
                        block_size + 1, " are needed"));
}

Batch WindowSampler::next(std::int64_t batch_size) {
  std::vector<std::int64_t> offsets;
  offsets.reserve(static_cast<std::size_t>(batch_size));
  for (std::int64_t row = 0; row < batch_size; ++row) offsets.push_back(next_offset());
  return gather_windows(tokens_, offsets, block_size_);
}

std::int64_t WindowSampler::next_offset() {
  const auto n = length(tokens_);
  const auto drawn = drawn_++;
  if (order_ == WindowOrder::random) {
    Generator generator(key_, static_cast<std::uint64_t>(drawn));
    return draw_below(generator, n - block_size_);
  }
  if (order_ == WindowOrder::sequential) return drawn % ((n - 1) / block_size_) * block_size_;
  // A phase may leave no whole window in a short text; the next epoch draws another.
  while (in_epoch_ >= of_epoch_) {
    ++epoch_;
    in_epoch_ = 0;
    begin_epoch();
  }
  return epoch_offset(in_epoch_++);
}

std::int64_t WindowSampler::epoch_offset(std::int64_t place) const {
  if (permutation_) return phase_ + (*permutation_)(place)*block_size_;
  return shuffled_[static_cast<std::size_t>(place)];
}

void WindowSampler::begin_epoch() {
  const auto key = stream_key(key_, "epoch", static_cast<std::uint64_t>(epoch_));
  Generator generator(key);
  phase_ = draw_below(generator, block_size_);
  of_epoch_ = (length(tokens_) - phase_ - 1) / block_size_;
  shuffled_.clear();
  permutation_.reset();
  if (is_computed_) {
    if (of_epoch_ > 0) permutation_.emplace(of_epoch_, stream_key(key, "windows"));
    return;
  }
  shuffled_.reserve(static_cast<std::size_t>(of_epoch_));
  for (std::int64_t window = 0; window < of_epoch_; ++window)
    shuffled_.push_back(phase_ + window * block_size_);
  for (auto left = of_epoch_; left > 1; --left)
    std::swap(shuffled_[static_cast<std::size_t>(left - 1)],
              shuffled_[static_cast<std::size_t>(draw_below(generator, left))]);
}

Json WindowSampler::state() const {
  Json state{{"drawn", drawn_}, {"epoch", epoch_}, {"in_epoch", in_epoch_}};
  if (order_ == WindowOrder::epoch && is_computed_) state["shuffle"] = kComputed;
  return state;
}

void WindowSampler::restore(const Json& state, std::string_view where) {
  const auto read = [&](const char* key, std::int64_t least, std::int64_t most = kMostDrawn) {
    const auto at = cat(where, ": data cursor");
    const auto value = json_integer(state, key, least, at, kRemedy, ErrorKind::checkpoint);
    if (value > most)
      throw CheckpointError(cat(at, ": \"", key, "\" is ", value, ", beyond any run; ", kRemedy));
    return value;
  };
  drawn_ = read("drawn", 0);
  epoch_ = read("epoch", -1);
  in_epoch_ = read("in_epoch", 0, INT64_MAX);  // held against its epoch below
  of_epoch_ = 0;
  is_computed_ = state.contains("shuffle");
  if (is_computed_ && state.at("shuffle") != kComputed)
    throw CheckpointError(cat(where, ": data cursor: \"shuffle\" is ", shown(state.at("shuffle")),
                              ", which this version does not know; ", kRemedy));
  if (epoch_ >= 0) begin_epoch();
  if (in_epoch_ > of_epoch_)
    throw CheckpointError(cat(where, ": the data cursor lies beyond its epoch; ", kRemedy));
}

Batch gather_windows(TokenView tokens, std::span<const std::int64_t> offsets,
                     std::int64_t block_size) {
  Batch batch;
  batch.batch_size = static_cast<std::int64_t>(offsets.size());
  batch.block_size = block_size;
  batch.offsets.assign(offsets.begin(), offsets.end());
  const auto length_of_one = static_cast<std::size_t>(block_size);
  batch.inputs.reserve(offsets.size() * length_of_one);
  batch.targets.reserve(offsets.size() * length_of_one);
  for (const auto offset : offsets) {
    const auto begin = static_cast<std::size_t>(offset);
    tokens.append(begin, length_of_one, batch.inputs);
    tokens.append(begin + 1, length_of_one, batch.targets);
  }
  return batch;
}

}  // namespace moe
