#include "cli/sweep_view.h"

#include <algorithm>

#include "moe/base/system.h"
#include "moe/base/text.h"
#include "moe/sweep/summary.h"

namespace moe::cli {

using sweep::Claim, sweep::Outcome, sweep::TrialState;

namespace {

constexpr double kRedraw = 0.5;  // [s]

}  // namespace

SweepView::SweepView(const sweep::Queue& queue, Log& log)
    : queue_(queue), log_(log), began_(monotonic_seconds()) {}

SweepView::~SweepView() { log_.live(""); }

std::string SweepView::settings(const Claim& claim) const {
  std::vector<std::string> parts;
  const auto& definition = queue_.definition();
  const auto values = sweep::values_of(definition.space, claim.point);
  for (const auto& item : values.items())
    parts.push_back(cat(printable(item.key()), "=", shown(item.value())));
  if (definition.settings.seeds > 1)
    parts.push_back(cat("seed=", definition.base.seed + claim.seed_index));
  return join(parts, " ");
}

void SweepView::on_start(const Claim& claim) {
  running_.push_back(claim);
  const auto again = claim.attempt > 1 ? cat(" (attempt ", claim.attempt, ")") : "";
  log_.info(cat("trial ", claim.number, again, ": ", settings(claim)));
}

void SweepView::on_end(const Claim& claim, const Outcome& outcome) {
  std::erase_if(running_, [&](const Claim& other) { return other.trial == claim.trial; });
  if (outcome.state == TrialState::failed) {
    log_.warn(cat("trial ", claim.number, " failed: ", outcome.reason));
    return;
  }
  const auto board = sweep::leaderboard(queue_.definition(), queue_.study());
  const bool leads = !board.empty() && board.front().best->id == claim.trial;
  log_.info(cat("trial ", claim.number, " ", sweep::state_name(outcome.state), ": ",
                queue_.definition().settings.objective.metric, " ",
                outcome.value ? fixed(*outcome.value, 4) : "-", leads ? " (best)" : ""));
}

void SweepView::on_release(const Claim& claim) {
  std::erase_if(running_, [&](const Claim& other) { return other.trial == claim.trial; });
  log_.info(
      cat("trial ", claim.number, ": given back; whoever takes it goes on from its checkpoint"));
}

std::string SweepView::header() const {
  const auto counts = sweep::counts_of(queue_.definition(), queue_.study(), queue_.dir());
  auto line = cat(queue_.definition().name, "  ", counts.ended(), "/", counts.total, " trials  ",
                  counts.running, " running");
  if (counts.pruned > 0) line += cat("  ", counts.pruned, " pruned");
  if (counts.failed > 0) line += cat("  ", counts.failed, " failed");
  const auto board = sweep::leaderboard(queue_.definition(), queue_.study());
  if (!board.empty())
    line +=
        cat("  best ", fixed(board.front().value, 4), " (trial ", board.front().best->number, ")");
  return line + cat("  ", human_seconds(monotonic_seconds() - began_));
}

std::string SweepView::table() const {
  auto out = header();
  const auto last = queue_.definition().base.train.max_iters;
  for (const auto& claim : running_) {
    const auto* trial = queue_.study().find(claim.trial);
    auto line = cat("  ", claim.number);
    line.resize(std::max<std::size_t>(line.size(), 8), ' ');
    if (trial != nullptr && !trial->reported.empty())
      line += cat("step ", trial->reported.rbegin()->first, "/", last, "  ",
                  fixed(trial->reported.rbegin()->second, 4), "  ");
    out += cat("\n", line, settings(claim));
  }
  return out;
}

void SweepView::on_tick() {
  const auto now = monotonic_seconds();
  if (!log_.has_live_line() || now - drawn_at_ < kRedraw) return;
  drawn_at_ = now;
  log_.live(table());
}

}  // namespace moe::cli
