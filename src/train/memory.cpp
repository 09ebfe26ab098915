#include <ATen/Context.h>
#include <c10/core/CachingDeviceAllocator.h>

#include <algorithm>
#include <string>
#include <vector>

#include "moe/base/error.h"
#include "moe/base/system.h"
#include "moe/base/text.h"
#include "moe/config/spec_of.h"
#include "moe/data/windows.h"
#include "moe/eval/evaluator.h"
#include "moe/kernels/expert_rows.h"
#include "moe/kernels/memory_plan.h"
#include "moe/model/build.h"
#include "moe/optim/optim.h"
#include "moe/train/trainer.h"

namespace moe {

namespace {

/// Ids, and where windows begin: of the split's in the order "epoch", and of an evaluation's.
double text_memory(const RunConfig& config, const TextSize& text) {
  const auto block = config.model.block_size;
  const auto listed = config.data.order == DataOrder::epoch
                          ? std::min(text.train / block, WindowSampler::kMostListed)
                          : 0;
  return static_cast<double>(text.held) * sizeof(std::int32_t) +
         static_cast<double>(text.val / block + listed) * sizeof(std::int64_t);
}

/// Of the composed modules, which autograd keeps: per token and layer norms, q/k/v, attention
/// weights, expert rows.
double composed_memory(const ModelSpec& spec, double tokens) {
  const auto c = static_cast<double>(spec.width), context = static_cast<double>(spec.context);
  double values = 4 * static_cast<double>(spec.vocab);
  const auto sources = (spec.x0_shortcut ? 1.0 : 0.0) + static_cast<double>(spec.ngrams.size());
  values += sources * (2 + 2 * static_cast<double>(spec.layers.size())) * c;
  for (const auto& layer : spec.layers) {
    const auto experts = static_cast<double>(layer.feed_forward.token_slots()) * (4 + 6) * c;
    values += 10 * c + 4 * static_cast<double>(layer.attention.heads) * context + experts;
    if (layer.attention.mixes_values) values += 4 * c;
    for (const auto taps : {layer.attention.short_conv, layer.feed_forward.short_conv})
      if (taps > 0) values += 4 * c;  // with the rows before, and sums
  }
  return sizeof(float) * tokens * values;
}

/// Of the mixtures on a device besides that, whose products have rows that serve nobody, and copies
/// of weights (kernels::row_layout): what autograd keeps of each, and what one takes in backward.
double row_memory(const ModelSpec& spec, std::int64_t tokens) {
  const auto c = static_cast<double>(spec.width);
  double kept = 0, most = 0;
  for (const auto& layer : spec.layers) {
    const auto& own = layer.feed_forward;
    const auto layout = kernels::row_layout(tokens, own.token_slots(), own.all_experts());
    const auto rows = static_cast<double>(layout.size()), f = static_cast<double>(own.width);
    const auto up = is_gated(own.activation) ? 2 * f : f;
    const auto copies =
        layout.is_every_token ? 0 : static_cast<double>(layout.blocks) * c * (up + f);
    kept += rows * (up + c);
    most = std::max(most, rows * (2 * up + f + 2 * c) + 2 * copies);
  }
  return sizeof(float) * (kept + most);
}

double batch_memory(const RunConfig& config, const Vocabulary& vocabulary, bool on_device) {
  const auto windows = config.train.batch_size, time = config.model.block_size;
  const auto spec = spec_of(config.model, vocabulary);
  // Inputs and targets as they are drawn; where each window begins, twice.
  constexpr double kTokenBytes = 2 * sizeof(std::int64_t), kWindowBytes = 2 * sizeof(std::int64_t);
  const auto tokens = static_cast<double>(windows) * static_cast<double>(time);
  const auto drawn = kTokenBytes * tokens + kWindowBytes * static_cast<double>(windows);
  constexpr double kBeyondAllMachines = 1e15;  // and not far from what 64 bits count
  const auto composed = composed_memory(spec, tokens);
  if (config.model.kernels == Kernels::reference || composed > kBeyondAllMachines)
    return composed + drawn;
  if (on_device) return composed + row_memory(spec, windows * time) + drawn;
  // The workspace of an evaluation lives besides that of training.
  return static_cast<double>(kernels::planned_training_memory(spec, windows, time)) +
         static_cast<double>(
             kernels::planned_evaluation_memory(spec, evaluation_windows(time), time)) +
         drawn;
}

double model_memory(const RunConfig& config, const Vocabulary& vocabulary, bool on_device) {
  const auto& model = config.model;
  // Values, gradients and what the optimizer keeps. The weights of another run are let go before
  // that is written to.
  const ParameterTable table(spec_of(model, vocabulary));
  const auto set_aside = config.optim.average.start ? table.count() : 0;  // while another is there
  const auto values = 2 * static_cast<double>(table.count()) +
                      static_cast<double>(count_optimizer_state(config.optim, table)) +
                      static_cast<double>(set_aside);
  // On a device the optimizer's operations make whole tensors, so many at once at most.
  constexpr double kTensorsAtOnce = 9;
  const auto scratch = on_device
                           ? kTensorsAtOnce * sizeof(float) * static_cast<double>(table.count())
                           : static_cast<double>(count_optimizer_scratch(config.optim, table));
  // Of an evaluation: tallies of E * (V + E) counts a layer, as numbers, as JSON and as its text.
  constexpr double kBytesPerCount = 8 + 16 + 8;
  const auto e = static_cast<double>(model.moe.num_experts);
  const auto tallies = kBytesPerCount * static_cast<double>(model.n_layer) * e *
                       (static_cast<double>(vocabulary.symbols) + e);
  return sizeof(float) * values + scratch + tallies;
}

/// A part of what is needed, and what to do if it is the largest; empty: nothing can be done.
struct Part {
  std::string_view name;
  double bytes;
  std::string_view remedy;
};
constexpr std::string_view kShorterBatch = "lower train.batch_size or model.block_size",
                           kSmallerModel =
                               "lower model.n_embed, model.n_layer or model.moe.num_experts",
                           kShorterText = "give a shorter text";

std::int64_t whole_bytes(double bytes) {
  constexpr double kLargest = 9e18;  // an int64
  return static_cast<std::int64_t>(std::min(bytes, kLargest));
}

std::int64_t free_cuda_memory(int device) {
  const auto index = static_cast<c10::DeviceIndex>(device);
  return static_cast<std::int64_t>(c10::getDeviceAllocator(at::kCUDA)->getMemoryInfo(index).first);
}

void refuse_more_than(std::int64_t room, std::int64_t bytes, const std::vector<Part>& parts,
                      std::string_view what) {
  if (bytes <= room) return;
  const auto bytes_to_mend = [](const Part& part) { return part.remedy.empty() ? -1 : part.bytes; };
  std::vector<std::string> shown;
  for (const auto& part : parts) shown.push_back(cat(part.name, " ", human_bytes(part.bytes)));
  throw ResourceError(cat("memory: ", what, " needs about ",
                          human_bytes(static_cast<double>(bytes)), " (", join(shown, ", "), "), ",
                          human_bytes(static_cast<double>(room)), " are available; ",
                          std::ranges::max_element(parts, {}, bytes_to_mend)->remedy));
}

/// The device that config.device asks for, whether it is there or not; negative: the CPU.
int cuda_device_of(const std::string& name) {
  if (name == "auto") return at::hasCUDA() ? 0 : -1;
  constexpr std::string_view kCuda = "cuda";
  if (!name.starts_with(kCuda)) return -1;
  return name == kCuda ? 0 : std::stoi(name.substr(kCuda.size() + 1));
}

}  // namespace

std::int64_t MemoryEstimate::total() const {
  const auto host = cuda_device < 0 ? batch + model : staging;
  return whole_bytes(process + std::max(reading, text + host));
}

std::int64_t MemoryEstimate::on_device() const {
  return cuda_device < 0 ? 0 : whole_bytes(batch + model);
}

MemoryEstimate estimate_memory(const RunConfig& config, const Vocabulary& vocabulary,
                               const TextSize& text, std::int64_t process) {
  MemoryEstimate out;
  out.cuda_device = cuda_device_of(config.device);
  out.process = static_cast<double>(process);
  out.text = text_memory(config, text);
  const auto counting =  // the runs that n-gram tables are made of, once the text itself is gone
      config.model.ngram.orders.empty() ? 0.0
                                        : static_cast<double>(text.train) * sizeof(std::int64_t);
  out.reading = std::max(static_cast<double>(text.bytes), counting) +
                static_cast<double>(text.held) * sizeof(std::int32_t);
  out.batch = batch_memory(config, vocabulary, out.cuda_device >= 0);
  out.model = model_memory(config, vocabulary, out.cuda_device >= 0);
  // As many copies, one after another.
  if (out.cuda_device >= 0) out.staging = model_memory(config, vocabulary, /*on_device=*/false);
  return out;
}

void check_memory(const MemoryEstimate& needed, std::string_view what) {
  const Part batch{"batch", needed.batch, kShorterBatch};
  const Part model{"model", needed.model, kSmallerModel};
  const Part text{"text", needed.text, kShorterText};
  const Part program{"program", needed.process, ""};
  const bool on_device = needed.cuda_device >= 0;
  if (on_device)
    refuse_more_than(free_cuda_memory(needed.cuda_device), needed.on_device(), {batch, model},
                     cat(what, " on cuda:", needed.cuda_device));
  const auto available = available_memory();
  if (available < 0) return;
  const Part staging{"model", needed.staging, kSmallerModel};
  // Part of the total is held already.
  refuse_more_than(
      available + resident_memory(), needed.total(),
      on_device ? std::vector{staging, text, program} : std::vector{batch, model, text, program},
      what);
}

}  // namespace moe
