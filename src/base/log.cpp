#include "moe/base/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <string>
#include <utility>

#include "moe/base/interrupt.h"
#include "moe/base/text.h"

namespace moe {

namespace {

constexpr std::string_view kYellow = "\033[33m";
constexpr std::string_view kRed = "\033[31m";
constexpr std::string_view kPlain = "\033[0m";

bool wants_colour() {
  const char* refusal = std::getenv("NO_COLOR");  // https://no-color.org: any value but ""
  return refusal == nullptr || *refusal == 0;
}

bool is_dumb() {
  const char* kind = std::getenv("TERM");
  return kind != nullptr && std::string_view(kind) == "dumb";
}

/// As much of `text` as can be redrawn: a wrapped line could not, nor one that scrolled away.
std::string on_screen(std::string_view text) {
  winsize size = {};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0)
    return std::string(text);
  std::string out;
  for (int row = 1; row < std::max<int>(2, size.ws_row); ++row) {
    const auto end = std::min(text.find('\n'), text.size());
    out += text.substr(0, std::min(end, size.ws_col - std::size_t{1}));
    if (end == text.size()) return out;
    text.remove_prefix(end + 1);
    out += '\n';
  }
  out.pop_back();
  return out;
}

}  // namespace

struct Log::State {
  std::mutex mutex;
  std::shared_ptr<spdlog::logger> file;
  // One that cannot move its cursor gets plain lines.
  bool terminal = isatty(STDERR_FILENO) != 0 && !is_dumb();
  bool colour = terminal && wants_colour();
  std::string live;

  /// What takes the live lines away again.
  std::string erasing() const {
    if (live.empty()) return "";
    const auto above = std::count(live.begin(), live.end(), '\n');
    return above == 0 ? "\r\033[K" : "\r\033[" + std::to_string(above) + "A\033[J";
  }

  void print(std::string_view colour_code, std::string_view prefix, std::string_view message) {
    auto out = erasing();
    if (colour) out.append(colour_code);
    out.append(prefix);
    if (colour && !colour_code.empty()) out.append(kPlain);
    out.append(message).append("\n").append(live);
    write_stream(STDERR_FILENO, out.data(), out.size());  // in one: lines of processes do not mix
  }

  void message(spdlog::level::level_enum level, std::string_view colour_code,
               std::string_view prefix, std::string_view text) noexcept {
    try {
      const std::lock_guard lock(mutex);
      const auto shown = without_controls(text);
      print(colour_code, prefix, shown);
      if (file) file->log(level, shown);
    } catch (...) {  // out of memory, a full disk: a log never ends a run
    }
  }
};

Log::Log() : state_(std::make_unique<State>()) {}
Log::~Log() { live(""); }

void Log::info(std::string_view message) { state_->message(spdlog::level::info, "", "", message); }

void Log::warn(std::string_view message) {
  state_->message(spdlog::level::warn, kYellow, "warning: ", message);
}

void Log::error(std::string_view message) {
  state_->message(spdlog::level::err, kRed, "error: ", message);
}

void Log::live(std::string_view text) {
  if (!state_->terminal) return;
  const std::lock_guard lock(state_->mutex);
  auto out = state_->erasing();
  state_->live = on_screen(without_controls(text));
  out += state_->live;
  write_stream(STDERR_FILENO, out.data(), out.size());
}

bool Log::has_live_line() const { return state_->terminal; }

void Log::also_to(const std::filesystem::path& path) {
  try {
    auto sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path.string());
    auto file = std::make_shared<spdlog::logger>("makemoe", sink);
    file->set_pattern("%Y-%m-%dT%H:%M:%S%z %l %v");
    file->flush_on(spdlog::level::info);
    file->set_error_handler([](const std::string&) {});  // a full disk never ends a run
    const std::lock_guard lock(state_->mutex);
    state_->file = std::move(file);
  } catch (const std::exception&) {
    warn(path.string() + ": cannot be written; messages go to standard error only");
  }
}

}  // namespace moe
