#include "moe/sweep/identity.h"

#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "moe/base/system.h"
#include "moe/base/text.h"

namespace moe::sweep {

namespace {

std::string boot_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  file >> id;
  return id;
}

std::string pid_namespace() {
  std::error_code ignored;
  return std::filesystem::read_symlink("/proc/self/ns/pid", ignored).string();
}

/// Field 22 of /proc/PID/stat; nullopt when there is no such process, or only its corpse.
std::optional<std::int64_t> start_of(std::int64_t pid) {
  std::ifstream file(cat("/proc/", pid, "/stat"));
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  // The name in parentheses may hold anything: fields count from its end.
  const auto end = line.rfind(')');
  if (end == std::string::npos) return std::nullopt;
  std::istringstream rest(line.substr(end + 1));
  std::string state, skipped;
  rest >> state;
  if (state == "Z" || state == "X") return std::nullopt;
  for (int field = 4; field < 22; ++field) rest >> skipped;
  std::int64_t started = 0;
  if (!(rest >> started)) return std::nullopt;
  return started;
}

}  // namespace

Identity Identity::mine() {
  const std::int64_t pid = ::getpid();
  return {host_name(), cat(boot_id(), " ", pid_namespace()), pid, start_of(pid).value_or(0)};
}

bool Identity::may_live() const {
  static const auto here = mine().domain;
  if (domain != here) return true;
  return start_of(pid) == started;
}

std::string Identity::name() const { return cat("moe-", host, "-", pid, "-", started); }

Json Identity::to_json() const {
  return {{"host", host}, {"domain", domain}, {"pid", pid}, {"started", started}};
}

std::optional<Identity> Identity::from_json(const Json& json) {
  if (!json.is_object()) return std::nullopt;
  const auto text = [&](const char* key) { return json.contains(key) && json[key].is_string(); };
  const auto whole = [&](const char* key) {
    return json.contains(key) && json[key].is_number_integer();
  };
  if (!text("host") || !text("domain") || !whole("pid") || !whole("started")) return std::nullopt;
  return Identity{json["host"], json["domain"], json["pid"], json["started"]};
}

}  // namespace moe::sweep
