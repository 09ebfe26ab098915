#include "moe/eval/split_batches.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <span>
#include <vector>

#include "moe/base/error.h"
#include "moe/base/text.h"

namespace moe {

namespace {

// Windows and tokens of one forward at most. Constants, so that sums round alike in every run.
constexpr std::int64_t kMaxWindows = 32;
constexpr std::int64_t kMaxTokens = 8192;

using Offsets = std::span<const std::int64_t>;

/// (B, T) int64 on `device`.
at::Tensor ids_tensor(std::vector<std::int64_t>& ids, std::int64_t batch, at::Device device) {
  const auto time = static_cast<std::int64_t>(ids.size()) / batch;
  return at::from_blob(ids.data(), {batch, time}, at::kLong).to(device, at::kLong, false, true);
}

/// Rows of one long sequence, the split.
ForwardContext split_context(std::uint64_t key, Offsets offsets, std::int64_t time) {
  ForwardContext context;
  context.key = key;
  const auto starts = at::tensor(at::ArrayRef<std::int64_t>(offsets.data(), offsets.size()));
  context.rows.position = (starts.unsqueeze(1) + at::arange(time, at::kLong)).flatten();
  context.rows.sequence = at::zeros_like(context.rows.position);
  return context;
}

/// Where the whole windows to evaluate begin: all, or `most` spread evenly.
std::vector<std::int64_t> spread_offsets(std::int64_t windows, std::int64_t most,
                                         std::int64_t block) {
  std::vector<std::int64_t> offsets;
  offsets.reserve(static_cast<std::size_t>(most));
  for (std::int64_t i = 0; i < most; ++i) offsets.push_back(i * windows / most * block);
  return offsets;
}

/// Windows of one length, of which the last `counted` targets count.
struct Part {
  std::vector<std::int64_t> offsets;
  std::int64_t time, counted;
};

/// Whole windows, all or `most`, and, of all, the shorter last one.
std::vector<Part> parts_of(std::int64_t targets, std::int64_t block, std::int64_t most) {
  const auto whole = targets / block, rest = targets % block;
  const bool all = most <= 0 || most >= whole + (rest > 0 ? 1 : 0);
  std::vector<Part> parts{{spread_offsets(whole, all ? whole : most, block), block, block}};
  if (all && rest > 0) parts.push_back({{whole * block}, rest, rest});
  return parts;
}

/// More targets than a window has.
std::vector<Part> strided_parts(std::int64_t targets, std::int64_t block, std::int64_t stride) {
  std::vector<Part> parts{{{0}, block, block}, {{}, block, stride}};
  const auto last = targets - block;
  for (auto offset = stride; offset <= last; offset += stride) parts[1].offsets.push_back(offset);
  if (last % stride > 0) parts.push_back({{last}, block, last % stride});
  return parts;
}

}  // namespace

std::int64_t evaluation_windows(std::int64_t time) {
  return std::clamp(kMaxTokens / time, std::int64_t{1}, kMaxWindows);
}

void check_stop(const StopRequest& stop) {
  if (const int signal = stop ? stop() : 0; signal != 0) throw Interrupted(signal);
}

void require_length(TokenView tokens, std::int64_t least) {
  if (static_cast<std::int64_t>(tokens.size()) < least)
    throw DataError(
        cat("evaluation: the text has ", tokens.size(), " symbols; it needs at least ", least));
}

SplitBatch make_batch(const SparseMoELanguageModel& model, TokenView tokens, Offsets offsets,
                      std::int64_t time, std::int64_t counted) {
  const auto device = model->token_table()->weight.device();
  const auto batch = static_cast<std::int64_t>(offsets.size());
  SplitBatch out;
  out.windows = gather_windows(tokens, offsets, time);
  for (std::int64_t window = 0; window < batch; ++window)
    std::fill_n(out.windows.targets.begin() + window * time, time - counted, kNoTarget);
  out.counted = batch * counted;
  out.ids = ids_tensor(out.windows.inputs, batch, device);
  out.targets = ids_tensor(out.windows.targets, batch, device);
  out.most_windows = evaluation_windows(time);
  return out;
}

void for_each_batch(const SparseMoELanguageModel& model, TokenView tokens,
                    const SplitRequest& request,
                    const std::function<void(const SplitBatch&)>& visit) {
  require_length(tokens, 2);
  const auto block = model->spec().context;
  const auto targets = static_cast<std::int64_t>(tokens.size()) - 1;
  const auto parts = request.stride > 0 && request.stride < block && targets > block
                         ? strided_parts(targets, block, request.stride)
                         : parts_of(targets, block, request.max_windows);
  std::int64_t done = 0, all = 0;
  for (const auto& part : parts)
    all += static_cast<std::int64_t>(part.offsets.size()) * part.counted;
  for (const auto& [offsets, time, counted] : parts) {
    const auto together = static_cast<std::size_t>(evaluation_windows(time));
    for (std::size_t i = 0; i < offsets.size(); i += together) {
      check_stop(request.stop);
      const auto mine = Offsets(offsets).subspan(i, std::min(together, offsets.size() - i));
      auto batch = make_batch(model, tokens, mine, time, counted);
      batch.context = split_context(request.key, mine, time);
      visit(batch);
      done += batch.counted;
      if (request.progress) request.progress(done, all);
    }
  }
}

}  // namespace moe
