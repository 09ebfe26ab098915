#pragma once

#include <filesystem>
#include <memory>
#include <string_view>

namespace moe {

/// What people read: to standard error and, once a run folder is there, also to its log.txt.
/// Never fails a run: a log that cannot be written is dropped. Colours only on a terminal and
/// without NO_COLOR. On a terminal that can move its cursor (TERM is not "dumb") live lines stay at
/// the bottom and are redrawn below messages.
class Log {
 public:
  Log();
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  void info(std::string_view message);
  void warn(std::string_view message);
  void error(std::string_view message);

  /// Redraws the live lines in place, as many as the screen holds (terminal only; elsewhere
  /// nothing). "" removes them.
  void live(std::string_view text);
  /// Whether live lines are shown, that is, standard error is a terminal and not a dumb one.
  bool has_live_line() const;

  /// From now on messages also go to `path`, with time and level.
  void also_to(const std::filesystem::path& path);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace moe
