#include "cli/output.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "moe/base/error.h"
#include "moe/base/interrupt.h"
#include "moe/base/text.h"

namespace moe::cli {

namespace {

void write_out(std::string_view text) {
  const int error = write_stream(STDOUT_FILENO, text.data(), text.size());
  if (error == 0) return;
  if (error == EPIPE) throw OutputClosed{};
  // Also a terminal that hung up.
  if (const int signal = stop_signal()) throw Interrupted(signal);
  throw ResourceError(cat("standard output: writing failed: ", std::strerror(error),
                          "; free some space or write elsewhere"));
}

/// Bytes go out as they are, but to a terminal, which they must not steer.
void print_shown(std::string_view text, std::string_view escape) {
  if (::isatty(STDOUT_FILENO) != 0)
    write_out(without_controls(text, escape));
  else
    write_out(text);
}

}  // namespace

void print(std::string_view text) { print_shown(text, "\\x"); }

void print_json(const Json& json) { print_shown(json_text(json, 2) + "\n", "\\u00"); }

bool is_standard_output(const std::string& out) {
  return out == "-" || (!out.empty() && descriptor_behind(out) == STDOUT_FILENO);
}

void write_result(const std::string& out, Pieces pieces, FileLayer& files) {
  if (!is_standard_output(out)) return files.write_output(out, pieces);
  for (const auto piece : pieces) print(piece);
}

void write_result(const std::string& out, const ByteSource& source, FileLayer& files) {
  if (!is_standard_output(out)) return files.write_output(out, source);
  source([](std::string_view bytes) { print(bytes); });
}

}  // namespace moe::cli
