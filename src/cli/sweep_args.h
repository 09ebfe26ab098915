#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "moe/cli/app.h"
#include "moe/sweep/summary.h"

namespace moe::cli {

/// What stands on the command line of a subcommand of sweep.
struct SweepArgs {
  std::string file, dir, out, data;
  std::int64_t jobs = 0, count = 0;   // 0: not given
  std::optional<double> time_budget;  // [s]
  bool fail_fast = false, allow_changes = false, retry_failed = false, json = false, path = false;
};

/// Says that no trial has completed, and why, with the code that the trials ended with where it is
/// the same for all of them, else that of resources.
[[noreturn]] void refuse_without_best(const sweep::Sweep& sweep);

int run_sweep_run(const SweepArgs& args, const Services& services);
int run_sweep_worker(const SweepArgs& args, const Services& services);
int run_sweep_status(const SweepArgs& args, const Services& services);
int run_sweep_best(const SweepArgs& args, const Services& services);
int run_sweep_export(const SweepArgs& args, const Services& services);
int run_sweep_report(const SweepArgs& args, const Services& services);

}  // namespace moe::cli
