#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cstdint>
#include <string>
#include <thread>

#include "moe/base/file.h"
#include "moe/base/text.h"

namespace moe::cli {

/// What a command says that goes on with the built-in config alone.
inline constexpr std::string_view kAboutDefaults =
    "the defaults are makeMoE as published; configs/modern.json learns more from as much text "
    "(docs/recipes.md)";

// Numbers of the command line, read strictly: CLI11's own reader takes 010 for 8, -1 for 2^64 - 1,
// and cuts what is too large.

/// All of `text` as a T, or a CLI::ValidationError that begins with the option's `name`.
template <class T>
T read_number(const std::string& name, const std::string& text, const char* wanted) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc() && end == text.data() + text.size()) return value;
  const bool too_large = error == std::errc::result_out_of_range;
  throw CLI::ValidationError(
      name, cat("\"", printable(text),
                too_large ? "\" is out of range; give " : "\" does not fit; give ", wanted));
}

/// A whole number in [min, max] into `value`, which must outlive the parsing.
template <class T>
CLI::Option* add_whole(CLI::App& command, const std::string& name, T& value,
                       const std::string& help, T min, T max) {
  const auto read = [&value, name, min, max](const std::string& text) {
    const auto number = read_number<T>(name, text, "a whole number");
    if (number < min || number > max)
      throw CLI::ValidationError(name, cat(number, " is out of range; give ", min, " to ", max));
    value = number;
  };
  return command.add_option_function<std::string>(name, read, help)->type_name("N");
}

/// A number into `value`, which must outlive the parsing; its range is its user's to check.
inline CLI::Option* add_number(CLI::App& command, const std::string& name, double& value,
                               const std::string& help) {
  const auto read = [&value, name](const std::string& text) {
    value = read_number<double>(name, text, "a number");
  };
  return command.add_option_function<std::string>(name, read, help)->type_name("X");
}

/// A file, folder or device into `value`, which must outlive the parsing. An empty one, as from a
/// shell variable that is not set, is a mistake and not the default; so is a "~" that the shell
/// leaves as it is, since the folder would be made here under that name.
inline CLI::Option* add_name(CLI::App& command, const std::string& name, std::string& value,
                             const std::string& help) {
  const auto problem = [](const std::string& text) {
    if (text.empty()) return std::string("\"\" is empty; name one, or leave it out");
    if ((text == "~" || text.starts_with("~/")) && has_unexpanded_home(text))
      return cat(printable(text, 300),
                 ": ~ was not expanded by the shell, which wants a space before it; write the full "
                 "path");
    return std::string();
  };
  return command.add_option(name, value, help)->check(problem);
}

inline constexpr std::int64_t kMostThreads = 1024;

/// --threads of what gives the same results for any number of them.
inline void add_threads(CLI::App& command, std::int64_t& threads) {
  add_whole<std::int64_t>(
      command, "--threads", threads,
      "threads; results do not depend on it; default: as many as the machine has", 1, kMostThreads);
}
/// As many as were asked for, 0: those of the machine.
inline int machine_threads(std::int64_t asked) {
  if (asked > 0) return static_cast<int>(asked);
  return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

/// KEY=VALUE texts over the config, one for each --set.
inline void add_overrides(CLI::App& command, std::vector<std::string>& overrides,
                          const std::string& help) {
  command.add_option("--set", overrides, help)
      ->take_all()
      ->allow_extra_args(false)
      ->type_name("KEY=VALUE");
}

}  // namespace moe::cli
