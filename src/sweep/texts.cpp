#include "moe/sweep/texts.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <set>
#include <vector>

#include "moe/base/error.h"
#include "moe/base/sha256.h"
#include "moe/base/text.h"
#include "moe/config/load.h"

namespace moe::sweep {

namespace fs = std::filesystem;

namespace {

[[noreturn]] void refuse_unreadable(const fs::path& path, std::string_view remedy) {
  throw DataError(cat(path.string(), ": cannot be read: ", std::strerror(errno), "; ", remedy));
}

std::string sha256_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  Sha256 sum;
  std::array<char, 1U << 16U> buffer{};
  while (file) {
    file.read(buffer.data(), buffer.size());
    sum.update({buffer.data(), static_cast<std::size_t>(file.gcount())});
  }
  if (!file.eof()) refuse_unreadable(path, "check the path");
  return sum.hex();
}

/// Refuses what a trial could not read as often as it likes.
void require_text(const std::string& path) {
  std::error_code error;
  const auto status = fs::status(path, error);
  if (!fs::exists(status))
    throw DataError(cat(path,
                        ": is not there; get it (data/fetch.sh for tinyshakespeare), or name "
                        "another text with --data"));
  if (!fs::is_regular_file(status))
    throw DataError(cat(path,
                        ": is no regular file, and each trial of a sweep reads its text anew; "
                        "save the text in a file, and name that"));
  require_recordable(path);
}

/// The texts that the space may name under `key`, where `of_base` is the base's.
void add_texts(const Space& space, const char* key, const std::string& of_base,
               std::set<std::string>& paths) {
  const auto* parameter = space.find(key);
  if (parameter == nullptr || !parameter->when.empty()) paths.insert(of_base);
  if (parameter == nullptr) return;
  for (const auto& choice : parameter->choices)
    if (choice.is_string()) paths.insert(choice.get<std::string>());
}

}  // namespace

TextSums sum_texts(const RunConfig& base, const Space& space) {
  std::set<std::string> paths;
  add_texts(space, "data.path", base.data.path, paths);
  if (paths.contains(""))
    throw DataError("data.path: no text is named; give one with --data, or \"set\" data.path");
  add_texts(space, "data.val_path", base.data.val_path, paths);
  paths.erase("");  // no text of its own to validate on
  for (const auto& path : paths) require_text(path);
  TextSums sums;
  for (const auto& path : paths) sums[path] = sha256_of(path);
  return sums;
}

std::vector<std::string> changed_texts(const TextSums& before, const TextSums& now) {
  std::vector<std::string> out;
  for (const auto& [path, sum] : before)
    if (const auto found = now.find(path); found != now.end() && found->second != sum)
      out.push_back(path);
  return out;
}

TextWatch::Stamp TextWatch::stamp_of(const fs::path& path) {
  struct stat status = {};
  if (::stat(path.c_str(), &status) != 0) return {};
  constexpr std::int64_t kSecond = 1'000'000'000;
  return {status.st_dev, status.st_ino, status.st_size,
          status.st_mtim.tv_sec * kSecond + status.st_mtim.tv_nsec,
          status.st_ctim.tv_sec * kSecond + status.st_ctim.tv_nsec};
}

void TextWatch::check(const RunConfig& config) {
  for (const auto& path : {config.data.path, config.data.val_path}) {
    if (path.empty()) continue;
    if (::access(path.c_str(), R_OK) != 0)
      refuse_unreadable(path,
                        "sweep.json names the text by this path, so put it there, on every machine "
                        "that works on the sweep");
    const auto wanted = sums_.find(path);
    if (wanted == sums_.end()) continue;
    const auto stamp = stamp_of(path);
    auto& intact = intact_[path];
    if (stamp == intact && stamp != Stamp{}) continue;
    if (sha256_of(path) != wanted->second)
      throw DataError(cat(path,
                          ": is not the text that the sweep began with (its sha256 differs); put "
                          "that text back, or begin a sweep of the new one with --out"));
    intact = stamp;
  }
}

std::optional<std::string> TextWatch::sum_of(const RunConfig& config) const {
  std::string out;
  for (const auto& path : {config.data.path, config.data.val_path}) {
    if (path.empty()) continue;
    const auto known = sums_.find(path);
    if (known == sums_.end()) return std::nullopt;
    out += known->second;
  }
  return out;
}

}  // namespace moe::sweep
