#include "moe/sample/generator.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <optional>
#include <stdexcept>

#include "moe/base/error.h"
#include "moe/base/random.h"
#include "moe/base/system.h"
#include "moe/base/text.h"
#include "sample/continuation.h"

namespace moe {

namespace {

constexpr std::int64_t kGroup = 64;  // samples advanced together; bounds memory

void check_options(const GenerateOptions& options) {
  check_sampler_options(options.sampler);
  if (options.max_new_tokens < 0)
    throw ConfigError(
        cat("max_new_tokens: ", options.max_new_tokens, " is negative; give 0 or more"));
  if (options.num_samples < 1)
    throw ConfigError(cat("num_samples: ", options.num_samples, " is below 1; give 1 or more"));
  for (const auto& stop : options.stop)
    if (stop.empty()) throw ConfigError("--stop: the text is empty; give at least one character");
}

/// What is held of a group with room to grow, and of every sample to the end.
void require_memory_for(const ModelSpec& model, std::size_t prompt,
                        const GenerateOptions& options) {
  constexpr double kGrowing = 40, kDone = 6;  // a token, its text and where it ends [bytes]
  const auto samples = static_cast<double>(options.num_samples);
  const auto group = std::min(samples, static_cast<double>(kGroup));
  const auto fresh = static_cast<double>(options.max_new_tokens);
  const auto positions = model.context + model.layers.front().attention.short_conv;
  const auto cache = 2 * sizeof(float) * group * static_cast<double>(model.layers.size()) *
                     static_cast<double>(positions) * static_cast<double>(model.width);
  const auto tokens = group * (static_cast<double>(prompt) * sizeof(std::int32_t)) +
                      (kGrowing * group + kDone * samples) * fresh;
  require_memory(
      tokens + cache,
      cat("generate: ", options.num_samples, " samples of ", options.max_new_tokens,
          " new tokens need"),
      cache > tokens ? "lower --num-samples" : "lower --max-new-tokens or --num-samples");
}

/// One sample on its way.
struct GrowingSample {
  GrowingSample(const Tokenizer& tokenizer, std::span<const std::int32_t> prompt,
                const GenerateOptions& options, std::int64_t sample)
      : draws(stream_key(options.seed, "sample", static_cast<std::uint64_t>(sample))),
        tokens(prompt.begin(), prompt.end()),
        text(tokenizer, options.specials ? SpecialText::token : SpecialText::ordinary),
        continuation(options.stop) {}

  Generator draws;
  std::vector<std::int32_t> tokens;  // prompt and continuation
  TokenStream text;
  Continuation continuation;
  bool finished = false;
};

/// Samples [first, first + size) of a request, advanced in step.
class SampleGroup {
 public:
  SampleGroup(SparseMoELanguageModel& model, const Tokenizer& tokenizer,
              std::span<const std::int32_t> prompt, const GenerateOptions& options,
              std::int64_t first, std::int64_t size)
      : model_(model),
        end_id_(options.specials ? std::nullopt : tokenizer.end_id()),
        options_(options),
        device_(model->parameters().front().device()),
        key_(stream_key(options.seed, "generate")),
        first_(first) {
    for (std::int64_t i = 0; i < size; ++i)
      samples_.emplace_back(tokenizer, prompt, options, first + i);
  }

  /// Draws one more token of each unfinished sample; false when none is left.
  bool advance() {
    const auto logits = next_logits().to(at::kCPU, at::kFloat).contiguous();  // (B, V)
    const auto vocabulary = static_cast<std::size_t>(logits.size(1));
    const std::span<const float> values(logits.const_data_ptr<float>(),
                                        samples_.size() * vocabulary);
    for (std::size_t i = 0; i < samples_.size(); ++i)
      draw(samples_[i], values.subspan(i * vocabulary, vocabulary));
    return !std::ranges::all_of(samples_, &GrowingSample::finished);
  }

  GrowingSample& front() { return samples_.front(); }

  /// No more tokens come.
  void end() {
    for (auto& sample : samples_)
      if (!sample.finished) sample.continuation.complete(sample.text.finish());
  }

  void collect(std::vector<Sample>& done) const {
    for (const auto& sample : samples_)
      done.push_back({sample.continuation.tokens(), sample.continuation.text(),
                      sample.finished ? "stop" : "length"});
  }

 private:
  std::int64_t length() const { return static_cast<std::int64_t>(samples_.front().tokens.size()); }

  void draw(GrowingSample& sample, std::span<const float> logits) {
    // A finished sample stays with any token: the rows of a batch do not see one another.
    if (sample.finished) return sample.tokens.push_back(sample.tokens.back());
    const auto token =
        choose_token(logits, sample.tokens, options_.sampler, sample.draws.uniform());
    sample.tokens.push_back(token);
    sample.finished = sample.continuation.append(token, sample.text.push(token));
    if (sample.finished || token != end_id_) return;
    sample.continuation.complete(sample.text.finish());
    sample.finished = true;
  }

  /// The last `count` tokens of each sample, (B, count).
  at::Tensor last_ids(std::int64_t count) const {
    auto ids = at::empty({static_cast<std::int64_t>(samples_.size()), count}, at::kLong);
    auto* out = ids.mutable_data_ptr<std::int64_t>();
    for (const auto& sample : samples_)
      out = std::copy(sample.tokens.end() - count, sample.tokens.end(), out);
    return ids.to(device_);
  }

  at::Tensor next_logits() {
    const auto total = length(), block = model_->spec().context;
    if (total > block && (options_.exact || !model_->spec().slides())) {
      cache_.layers.clear();  // a window that moves leaves it worthless
      return model_->last_logits(last_ids(block), context(block));
    }
    // The prompt at first, then one.
    const auto fresh = cache_.length() == 0 ? std::min(total, block) : 1;
    return model_->extend(last_ids(fresh), cache_, context(fresh));
  }

  /// Draws of the last `count` tokens, keyed by sample and absolute position, so that cached and
  /// recomputed paths agree.
  ForwardContext context(std::int64_t count) {
    workspace_.reset();
    auto context = make_context(static_cast<std::int64_t>(samples_.size()), count,
                                /*training=*/false, key_, first_, length() - count);
    context.workspace = &workspace_;
    return context;
  }

  SparseMoELanguageModel& model_;
  std::optional<std::int32_t> end_id_;
  const GenerateOptions& options_;
  at::Device device_;
  std::uint64_t key_;
  std::int64_t first_;
  std::vector<GrowingSample> samples_;
  KeyValueCache cache_;
  kernels::Workspace workspace_;
};

/// Hands final text to the stream; false when the reader wants no more.
bool emit(const Stream& stream, Continuation& continuation, bool ended) {
  const auto text = continuation.take(ended);
  return text.empty() || stream(text);
}

void run_group(SampleGroup& group, const GenerateOptions& options, const Stream& stream,
               const std::function<int()>& stop_request) {
  const bool streams = stream && options.num_samples == 1;
  for (std::int64_t i = 0; i < options.max_new_tokens; ++i) {
    if (const int signal = stop_request ? stop_request() : 0; signal != 0)
      throw Interrupted(signal);
    const bool going = group.advance();
    if (streams && !emit(stream, group.front().continuation, /*ended=*/!going)) {
      group.front().finished = true;
      return;
    }
    if (!going) return;
  }
  group.end();
  if (streams) emit(stream, group.front().continuation, /*ended=*/true);
}

}  // namespace

std::vector<Sample> generate(SparseMoELanguageModel& model, const Tokenizer& tokenizer,
                             std::span<const std::int32_t> prompt, const GenerateOptions& options,
                             const Stream& stream, const std::function<int()>& stop_request) {
  check_options(options);
  if (prompt.empty()) throw std::logic_error("generate: the prompt has no tokens");
  require_memory_for(model->spec(), prompt.size(), options);
  const at::NoGradGuard no_grad;
  std::vector<Sample> samples;
  for (std::int64_t first = 0; first < options.num_samples; first += kGroup) {
    const auto size = std::min(kGroup, options.num_samples - first);
    SampleGroup group(model, tokenizer, prompt, options, first, size);
    run_group(group, options, stream, stop_request);
    group.collect(samples);
  }
  return samples;
}

}  // namespace moe
