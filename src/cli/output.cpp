#include "cli/output.h"

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

}  // namespace moe::cli
