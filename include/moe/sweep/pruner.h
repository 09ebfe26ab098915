#pragma once

#include <cstdint>

#include "moe/sweep/definition.h"
#include "moe/sweep/study.h"

namespace moe::sweep {

/// Whether `trial`, which has just reported, should be stopped, by what all trials of `study`
/// reported. Trials are compared in the direction of the definition's objective. What they reported
/// at step 0, before the first update, is never judged.
///
/// median: its best value so far is worse than the median of the finished trials' running means up
///   to the same step (Golovin et al. 2017, "Google Vizier", section 3.2.2).
/// asha: at each rung r * eta^k [steps] a trial goes on only when it is among the best 1/eta of
///   those that reached the rung (Li et al. 2020, "A system for massively parallel hyperparameter
///   tuning", algorithm 2, in the form that stops trials instead of pausing them).
bool should_prune(const Definition& definition, const Study& study, const Trial& trial);

}  // namespace moe::sweep
