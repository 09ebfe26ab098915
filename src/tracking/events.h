#pragma once

#include <cstdint>
#include <string>

#include "moe/tracking/flat_config.h"
#include "moe/tracking/metrics.h"

namespace moe::tracking {

// TensorBoard's messages (event.proto, summary.proto, the hparams plugin's plugin_data.proto), each
// as the bytes of one Event. Times are seconds since 1970.

/// The first event of every file.
std::string version_event(double time);
/// From here on, what a reader has seen of steps from `step` on is void.
std::string restart_event(double time, std::int64_t step);
/// Scalars, and a histogram a vector in which bucket i, from i - 0.5 to i + 0.5, holds value i.
std::string row_event(double time, const MetricRow& row);
/// Which hyper-parameters and which metrics the hparams page compares.
std::string hparams_event(double time, const FlatConfig& config);
/// This run's hyper-parameters; without a group, so that each run stands for itself.
std::string session_start_event(double time, const FlatConfig& config);
std::string session_end_event(double time, bool succeeded);

}  // namespace moe::tracking
