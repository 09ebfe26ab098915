#include "moe/base/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

namespace moe {

struct Log::State {
  std::shared_ptr<spdlog::logger> file;
  bool terminal = isatty(STDERR_FILENO) != 0;
  bool colour = terminal && std::getenv("NO_COLOR") == nullptr;
  std::string live;

  void erase_live() const {
    if (!live.empty()) std::fputs("\r\033[K", stderr);
  }
  void draw_live() const { std::fputs(live.c_str(), stderr); }

  void print(const char* colour_code, std::string_view prefix, std::string_view message) const {
    erase_live();
    std::string line;
    if (colour && *colour_code != 0) line += colour_code;
    line += prefix;
    if (colour && *colour_code != 0) line += "\033[0m";
    line.append(message).append("\n");
    std::fputs(line.c_str(), stderr);
    draw_live();
  }
};

Log::Log() : state_(std::make_unique<State>()) {}
Log::~Log() { live(""); }

void Log::info(std::string_view message) {
  state_->print("", "", message);
  if (state_->file) state_->file->info("{}", message);
}

void Log::warn(std::string_view message) {
  state_->print("\033[33m", "warning: ", message);
  if (state_->file) state_->file->warn("{}", message);
}

void Log::error(std::string_view message) {
  state_->print("\033[31m", "error: ", message);
  if (state_->file) state_->file->error("{}", message);
}

void Log::live(std::string_view line) {
  if (!state_->terminal) return;
  state_->erase_live();
  state_->live = line;
  state_->draw_live();
  std::fflush(stderr);
}

bool Log::has_live_line() const { return state_->terminal; }

void Log::also_to(const std::filesystem::path& path) {
  try {
    auto sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path.string());
    state_->file = std::make_shared<spdlog::logger>("makemoe", sink);
    state_->file->set_pattern("%Y-%m-%dT%H:%M:%S%z %l %v");
    state_->file->flush_on(spdlog::level::info);
    state_->file->set_error_handler([](const std::string&) {});  // a full disk never ends a run
  } catch (const spdlog::spdlog_ex&) {
    warn("log.txt can not be written; messages go to standard error only");
  }
}

}  // namespace moe
