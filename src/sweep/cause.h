#pragma once

#include <string_view>

#include "sweep/trial_process.h"

namespace moe::sweep {

/// Whose doing it is that a trial's process did not finish (ADR 36).
enum class Cause {
  trial,    // its own: it has failed, and the sweep continues
  killed,   // memory ran out, or a person: it is tried again, budget.attempts times in all
  outside,  // the text, the disk, the device: the worker ends, and the trial is given back
};

/// Of an end that nobody here asked for, other than exit code 0; `said` is its last error. Whether
/// exit code 3 is the text's doing, only the text can tell: here it is the trial's.
Cause cause_of(const Exit& exit, std::string_view said);

}  // namespace moe::sweep
