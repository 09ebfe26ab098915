#include <algorithm>
#include <cmath>
#include <numbers>

#include "moe/optim/optim.h"

namespace moe {

double learning_rate_at(const OptimConfig& config, std::int64_t max_iters, std::int64_t step) {
  const auto& schedule = config.schedule;
  const auto peak = config.learning_rate, last = schedule.final_learning_rate;
  const auto now = static_cast<double>(step), warmup = static_cast<double>(schedule.warmup_iters);
  if (now <= warmup) return peak * now / warmup;
  if (schedule.kind == ScheduleKind::constant) return peak;
  const auto end = static_cast<double>(max_iters);
  const auto begin = schedule.kind == ScheduleKind::wsd
                         ? std::max(warmup, end * (1 - schedule.decay_fraction))
                         : warmup;
  if (now <= begin) return peak;
  const auto done = std::min(1.0, (now - begin) / (end - begin));
  if (schedule.kind != ScheduleKind::cosine) return peak + (last - peak) * done;
  return last + (peak - last) * 0.5 * (1 + std::cos(std::numbers::pi * done));
}

bool is_averaged_at(const OptimConfig& config, std::int64_t max_iters, std::int64_t step) {
  const auto& start = config.average.start;
  return start && static_cast<double>(step) >= *start * static_cast<double>(max_iters);
}

double momentum_at(const OptimConfig& config, std::int64_t step) {
  const auto& schedule = config.momentum_schedule;
  if (step > schedule.warmup_iters) return config.muon.momentum;
  const auto done = static_cast<double>(step - 1) / static_cast<double>(schedule.warmup_iters);
  return schedule.start + (config.muon.momentum - schedule.start) * done;
}

double weight_decay_scale_at(const OptimConfig& config, std::int64_t max_iters, std::int64_t step) {
  if (config.decay_schedule == DecaySchedule::constant || max_iters == 1) return 1;
  const auto left = std::max<std::int64_t>(0, max_iters - step);
  return static_cast<double>(left) / static_cast<double>(max_iters - 1);
}

}  // namespace moe
