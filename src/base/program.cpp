#include "moe/base/program.h"

#include "moe/base/text.h"

namespace moe {

namespace {

/// The one thing that is said once and read everywhere: every message may name the program.
std::string& program_name() {
  static std::string name = "makemoe";
  return name;
}

}  // namespace

void set_program(std::string_view called) {
  // Without a slash the shell found it in PATH, and finds it there again.
  if (called.find('/') != std::string_view::npos) program_name() = called;
}

std::string program() { return shell_quoted(program_name()); }

std::string shell_quoted(std::string_view word) {
  constexpr std::string_view kNeedsNoQuotes =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-./,:=@%+";
  if (!word.empty() && word.find_first_not_of(kNeedsNoQuotes) == std::string_view::npos)
    return std::string(word);
  std::string out = "'";
  for (const char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::string command_line(const std::vector<std::string>& words) {
  auto out = program();
  for (const auto& word : words) out += cat(" ", shell_quoted(word));
  return out;
}

}  // namespace moe
