#include "cli/output.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "moe/base/text.h"

namespace moe::cli {

void print(std::string_view text) {
  const bool whole = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (whole && std::fflush(stdout) == 0) return;
  if (errno == EPIPE) throw OutputClosed{};
  throw ResourceError(cat("standard output: writing failed: ", std::strerror(errno),
                          "; free some space or write elsewhere"));
}

void print_json(const Json& json) { print(json_text(json, 2) + "\n"); }

bool is_standard_output(const std::string& out) {
  return out == "-" || (!out.empty() && descriptor_behind(out) == STDOUT_FILENO);
}

void write_result(const std::string& out, Pieces pieces, FileLayer& files) {
  if (!is_standard_output(out)) return files.write_output(out, pieces);
  for (const auto piece : pieces) print(piece);
}

}  // namespace moe::cli
