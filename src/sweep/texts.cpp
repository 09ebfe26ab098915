#include "moe/sweep/texts.h"

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
#include "moe/config/visit.h"
#include "moe/data/sources.h"

namespace moe::sweep {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kPutItThere =
    "sweep.json names the text by this path, so put it there, on every machine that works on the "
    "sweep";

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
void require_text(const fs::path& path) {
  std::error_code error;
  if (!fs::is_regular_file(fs::status(path, error)))
    throw DataError(cat(path.string(),
                        ": is no regular file, and each trial of a sweep reads its text anew; "
                        "save the text in a file, and name that"));
}

/// What sweep.json calls the texts of a key: their name, of several the list of names.
std::string key_of(const TextNames& names) {
  const auto json = config_detail::names_to_json(names);
  return json.is_string() ? json.get<std::string>() : json_text(json);
}

/// The texts that the space may name under `key`, where `of_base` is the base's.
void add_texts(const Space& space, const char* key, const TextNames& of_base,
               std::map<std::string, TextNames>& texts) {
  const auto add = [&](const TextNames& names) { texts.emplace(key_of(names), names); };
  const auto* parameter = space.find(key);
  if (parameter == nullptr || !parameter->when.empty()) add(of_base);
  if (parameter == nullptr) return;
  for (const auto& choice : parameter->choices) {
    TextNames names;
    config_detail::Problems ignored;  // what is no name was refused before
    config_detail::read_names(choice, key, names, ignored);
    add(names);
  }
}

std::vector<fs::path> files_of(const TextNames& names) {
  for (const auto& name : names.all()) require_recordable(name);
  auto files = find_sources(names.all(),
                            "get it (data/fetch.sh for tinyshakespeare), or name another text with "
                            "--data");
  for (const auto& file : files) require_text(file);
  return files;
}

std::string sum_of_files(const std::vector<fs::path>& files) {
  std::vector<std::string> sums;
  sums.reserve(files.size());
  for (const auto& file : files) sums.push_back(sha256_of(file));
  return joined_sums(sums);
}

}  // namespace

TextSums sum_texts(const RunConfig& base, const Space& space) {
  std::map<std::string, TextNames> texts;
  add_texts(space, "data.path", base.data.path, texts);
  if (texts.contains(""))
    throw DataError("data.path: no text is named; give one with --data, or \"set\" data.path");
  add_texts(space, "data.val_path", base.data.val_path, texts);
  texts.erase("");  // no text of its own to validate on
  std::map<std::string, std::vector<fs::path>> files;
  for (const auto& [key, names] : texts) files[key] = files_of(names);
  TextSums sums;
  for (const auto& [key, own] : files) sums[key] = sum_of_files(own);
  return sums;
}

std::vector<std::string> changed_texts(const TextSums& before, const TextSums& now) {
  std::vector<std::string> out;
  for (const auto& [path, sum] : before)
    if (const auto found = now.find(path); found != now.end() && found->second != sum)
      out.push_back(path);
  return out;
}

void TextWatch::check(const RunConfig& config) {
  for (const auto* names : {&config.data.path, &config.data.val_path}) {
    if (names->empty()) continue;
    const auto key = key_of(*names);
    const auto files = find_sources(names->all(), kPutItThere);
    std::vector<FileStamp> stamps;
    for (const auto& file : files) {
      if (::access(file.c_str(), R_OK) != 0) refuse_unreadable(file, kPutItThere);
      stamps.push_back(stamp_of(file));
    }
    const auto wanted = sums_.find(key);
    if (wanted == sums_.end() || stamps == intact_[key]) continue;
    if (sum_of_files(files) != wanted->second)
      throw DataError(cat(names->shown(),
                          ": is not the text that the sweep began with (its sha256 differs); put "
                          "that text back, or begin a sweep of the new one with --out"));
    intact_[key] = stamps;
  }
}

std::optional<std::string> TextWatch::sum_of(const RunConfig& config) const {
  std::string out;
  for (const auto* names : {&config.data.path, &config.data.val_path}) {
    if (names->empty()) continue;
    const auto known = sums_.find(key_of(*names));
    if (known == sums_.end()) return std::nullopt;
    out += known->second;
  }
  return out;
}

}  // namespace moe::sweep
