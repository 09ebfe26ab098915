#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "moe/base/file.h"
#include "tests/base/scratch.h"

namespace moe::test {

inline std::string bytes_in(const fs::path& path) { return read_file(path, ErrorKind::data); }

inline bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

/// What lies in a folder, in the order of the names.
inline std::vector<std::string> listing(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder))
    names.push_back(entry.path().filename().string());
  std::ranges::sort(names);
  return names;
}

/// The wait status of a child that runs `action` and exits with what it returns.
inline int status_of_child(const std::function<int()>& action) {
  const auto child = fork();
  if (child == 0) {
    int code = 99;
    try {
      code = action();
    } catch (...) {  // the child must not come back into the test's own code
    }
    _exit(code);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return status;
}

}  // namespace moe::test
