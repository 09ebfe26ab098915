#include "cli/sweep_view.h"

#include <unistd.h>

#include <algorithm>
#include <limits>

#include "cli/sweep_text.h"
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

std::vector<std::string> SweepView::settings(const Claim& claim) const {
  const auto& definition = queue_.definition();
  auto pairs = value_pairs(definition, claim.point);
  if (definition.settings.seeds > 1)
    pairs.push_back(cat("seed=", definition.base.seed + claim.seed_index));
  return pairs;
}

void SweepView::on_start(const Claim& claim) {
  running_.push_back(claim);
  const auto again = claim.attempt > 1 ? cat(" (attempt ", claim.attempt, ")") : "";
  // A file of messages has a line a trial, a terminal what it can show.
  const auto width = log_.has_live_line() ? terminal_width(STDERR_FILENO)
                                          : std::numeric_limits<std::size_t>::max();
  log_.info(wrapped(cat("trial ", claim.number, again, ":"), settings(claim), width));
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
                queue_.definition().settings.objective.metric, " ", objective_text(outcome.value),
                leads ? " (best)" : ""));
}

void SweepView::on_release(const Claim& claim) {
  std::erase_if(running_, [&](const Claim& other) { return other.trial == claim.trial; });
  log_.info(
      cat("trial ", claim.number, ": given back; whoever takes it continues from its checkpoint"));
}

std::string SweepView::header() const {
  const auto counts = sweep::counts_of(queue_.definition(), queue_.study(), queue_.dir());
  auto line = cat(queue_.definition().name, "  ", counts.ended(), "/", counts.total, " trials  ",
                  counts.running, " running");
  if (counts.pruned > 0) line += cat("  ", counts.pruned, " pruned");
  if (counts.failed > 0) line += cat("  ", counts.failed, " failed");
  const auto board = sweep::leaderboard(queue_.definition(), queue_.study());
  if (!board.empty())
    line += cat("  best ", objective_text(board.front().value), " (trial ",
                board.front().best->number, ")");
  return line + cat("  ", human_seconds(monotonic_seconds() - began_));
}

std::string SweepView::table() const {
  const auto& definition = queue_.definition();
  Columns columns{{"trial", "step", definition.settings.objective.metric}, {}, 1};
  for (const auto& name : sweep::short_keys(definition.space)) columns.heads.push_back(name);
  for (const auto& claim : running_) {
    const auto* trial = queue_.study().find(claim.trial);
    std::vector<std::string> row{cat(claim.number), progress(definition, claim.point, trial),
                                 objective_text(newest_value(trial))};
    for (auto& cell : value_cells(definition, claim.point)) row.push_back(std::move(cell));
    columns.rows.push_back(std::move(row));
  }
  auto out = header();
  if (columns.rows.empty()) return out;
  // One block: what the screen has no room for is cut.
  out += "\n" + aligned(columns, std::numeric_limits<std::size_t>::max());
  out.pop_back();
  return out;
}

void SweepView::on_tick() {
  const auto now = monotonic_seconds();
  if (!log_.has_live_line() || now - drawn_at_ < kRedraw) return;
  drawn_at_ = now;
  log_.live(table());
}

}  // namespace moe::cli
