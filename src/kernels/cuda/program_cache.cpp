#include "kernels/cuda/program_cache.h"

#include <array>
#include <cstdlib>

#include "moe/base/json.h"
#include "moe/base/sha256.h"

namespace moe::kernels::cuda {

namespace {

constexpr int kFormat = 1;
constexpr std::uint64_t kMostBytes = std::uint64_t{256} << 20;  // of a file

/// Each part after its length: no two sources have one text.
std::string key_of(const ProgramSource& source, const ProgramTarget& target) {
  Sha256 hash;
  const auto add = [&](const std::string& part) {
    hash.update(std::to_string(part.size())).update(":").update(part);
  };
  add(std::to_string(kFormat));
  add(target.architecture);
  add(target.compiler);
  add(source.text);
  for (const auto& header : source.headers) {
    add(header.name);
    add(header.text);
  }
  add("kernels");
  for (const auto& kernel : source.kernels) add(kernel);
  return hash.hex();
}

/// An absolute folder that the environment names; else empty.
fs::path folder_from(const char* variable) {
  const auto* value = std::getenv(variable);
  const fs::path folder = value == nullptr ? "" : value;
  return folder.is_absolute() ? folder : fs::path();
}

}  // namespace

// A file is a line of JSON, and the code after it.

std::optional<Program> ProgramCache::read(const fs::path& path, const ProgramSource& source) const {
  try {
    const auto bytes = read_file(path, ErrorKind::resource, kMostBytes);
    const auto end = bytes.find('\n');
    if (end == std::string::npos) return std::nullopt;
    const auto head =
        parse_json(std::string_view(bytes).substr(0, end), path.string(), ErrorKind::resource);
    Program program{bytes.substr(end + 1)};
    if (head.at("format") != kFormat || head.at("sha256") != sha256_hex(program.code))
      return std::nullopt;
    for (const auto& kernel : source.kernels)
      program.symbols[kernel] = head.at("symbols").at(kernel).get<std::string>();
    return program;
  } catch (const Error&) {
    return std::nullopt;
  } catch (const Json::exception&) {  // other members than are written here
    return std::nullopt;
  }
}

void ProgramCache::write(const fs::path& path, const Program& program) const {
  Json symbols = Json::object();
  for (const auto& [kernel, symbol] : program.symbols) symbols[kernel] = symbol;
  const Json head{{"format", kFormat}, {"sha256", sha256_hex(program.code)}, {"symbols", symbols}};
  const auto line = json_text(head) + "\n";
  const std::array<std::string_view, 2> pieces{line, program.code};
  FileLayer files({}, [](const std::string&) {});  // a cache's trouble is nobody's business
  try {
    files.make_folder(folder_);
    files.replace(path, pieces);
  } catch (const Error&) {  // it will be compiled again
  }
}

Program ProgramCache::get(const ProgramSource& source, const ProgramTarget& target,
                          const std::function<Program()>& compile) const {
  if (folder_.empty()) return compile();
  const auto path = folder_ / (key_of(source, target) + ".cubin");
  if (auto kept = read(path, source)) return *std::move(kept);
  auto program = compile();
  write(path, program);
  return program;
}

fs::path program_cache_folder() {
  if (const auto folder = folder_from("XDG_CACHE_HOME"); !folder.empty()) return folder / "makemoe";
  const auto home = folder_from("HOME");
  return home.empty() ? home : home / ".cache" / "makemoe";
}

}  // namespace moe::kernels::cuda
