#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <tuple>

#include "moe/config/field.h"

namespace moe {

enum class Precision { float32, bfloat16 };
template <>
struct EnumNames<Precision> {
  static constexpr std::array<std::string_view, 2> names{"float32", "bfloat16"};
};

/// How a run trains.
struct TrainConfig {
  std::int64_t max_iters = 5000, batch_size = 16, eval_interval = 100;
  std::int64_t grad_accumulation = 1;
  Precision precision = Precision::float32;
  bool capture = true;
  std::optional<std::int64_t> checkpoint_interval;
  std::int64_t keep_checkpoints = 2;
  std::optional<std::int64_t> early_stopping_patience;
  std::int64_t log_interval = 10;
  std::optional<std::int64_t> sample_interval;

  static constexpr auto fields() {
    using C = TrainConfig;
    return std::tuple{
        Field{"max_iters", &C::max_iters, "updates of the whole run [steps]", steps_from(1),
              OnResume::may_change},
        Field{"batch_size", &C::batch_size, "windows in a batch", between(1, 1 << 20)},
        Field{"eval_interval", &C::eval_interval, "distance between evaluations [steps]",
              steps_from(1), OnResume::may_change},
        Field{"grad_accumulation", &C::grad_accumulation, "batches for each update",
              between(1, 1 << 16)},
        Field{"precision", &C::precision,
              "type of matrix products in training; bfloat16 is faster and needs a CPU with "
              "avx512_bf16"},
        Field{
            "capture", &C::capture,
            "on a GPU, whether a step is recorded and repeated whole; false starts its operations "
            "one by one, which is slower and gives the same results",
            Bounds{}, OnResume::may_change},
        Field{"checkpoint_interval", &C::checkpoint_interval,
              "distance between checkpoints [steps]; null: train.eval_interval", steps_from(1),
              OnResume::may_change},
        Field{"keep_checkpoints", &C::keep_checkpoints,
              "newest checkpoints to keep, besides the best", steps_from(2), OnResume::may_change},
        Field{"early_stopping_patience", &C::early_stopping_patience,
              "stop after this many evaluations without a new best; null: never", steps_from(1),
              OnResume::may_change},
        Field{"log_interval", &C::log_interval,
              "distance between rows of metrics and progress [steps]", steps_from(1),
              OnResume::may_change},
        Field{"sample_interval", &C::sample_interval,
              "distance between samples [steps]; null: no samples", steps_from(1),
              OnResume::may_change}};
  }
};
static_assert(table_is_complete<TrainConfig>);

}  // namespace moe
