#pragma once

#include <string>
#include <vector>

#include "moe/base/log.h"
#include "moe/sweep/queue.h"
#include "moe/sweep/worker.h"

namespace moe::cli {

/// Shows a sweep while it runs: a table at the bottom of a terminal, plain lines elsewhere.
class SweepView : public sweep::WorkerObserver {
 public:
  SweepView(const sweep::Queue& queue, Log& log);
  ~SweepView() override;
  SweepView(const SweepView&) = delete;
  SweepView& operator=(const SweepView&) = delete;

  void on_start(const sweep::Claim& claim) override;
  void on_end(const sweep::Claim& claim, const sweep::Outcome& outcome) override;
  void on_release(const sweep::Claim& claim) override;
  void on_tick() override;

 private:
  std::string table() const;
  std::vector<std::string> settings(const sweep::Claim& claim) const;
  std::string header() const;

  const sweep::Queue& queue_;
  Log& log_;
  double drawn_at_ = -1;  // [s] monotonic
  double began_;
  std::vector<sweep::Claim> running_;
};

}  // namespace moe::cli
