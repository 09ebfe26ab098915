#include "moe/store/manifest.h"

#include <array>

#include "moe/base/file.h"
#include "moe/base/file_reader.h"
#include "moe/base/json.h"
#include "moe/base/sha256.h"
#include "moe/base/text.h"
#include "moe/base/version.h"
#include "moe/store/safetensors.h"

namespace moe {

namespace {

constexpr std::int64_t kFormatVersion = 1;
constexpr const char* kName = "manifest.json";
constexpr std::uint64_t kMaxBytes = std::uint64_t{64} << 20U;
constexpr int kMaxDepth = 8;

constexpr std::array kCheckpointFiles{"model.safetensors", "optimizer.safetensors", "state.json",
                                      "config.json", "tokenizer.json"};

[[noreturn]] void damaged(const fs::path& file, const std::string& what) {
  throw CheckpointError(cat(file.string(), ": ", what, "; ", kUseAnother));
}

/// The manifest with its own checksum last.
Json sealed(Json manifest) {
  manifest["checksum"] = sha256_hex(json_text(manifest));
  return manifest;
}

std::string rendered(const Json& manifest) { return json_text(manifest, 1) + "\n"; }

Json read_sealed(const fs::path& folder) {
  const auto path = folder / kName;
  const auto text = read_file(path, ErrorKind::checkpoint, kMaxBytes);
  auto manifest = parse_json(text, path.string(), ErrorKind::checkpoint, {kMaxBytes, kMaxDepth});
  if (!manifest.is_object() || !manifest.contains("checksum")) damaged(path, "has no checksum");
  auto body = manifest;
  body.erase("checksum");
  const auto found =
      json_integer(body, "format_version", 1, path.string(), kUseAnother, ErrorKind::checkpoint);
  if (found > kFormatVersion)
    throw CheckpointError(cat(path.string(), ": format version ", found,
                              ", this makemoe reads up to ", kFormatVersion,
                              "; use a newer makemoe"));
  // The text too: a byte that changed no value is a changed byte all the same.
  if (sealed(body) != manifest || rendered(manifest) != text)
    damaged(path, "its checksum does not fit");
  return body;
}

/// One file as the manifest has it.
struct Listed {
  fs::path path;
  std::uint64_t size;
  std::string sha256;
  Json tensors;  // name -> sha256
};

bool is_plain_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
}

/// The files that a manifest lists; refuses one that lists others than a checkpoint has.
std::vector<Listed> listed_files(const Json& manifest, const fs::path& folder) {
  const auto refuse = [&](const std::string& what) { damaged(folder / kName, what); };
  const auto section = [&](const char* key) {
    if (!manifest.contains(key) || !manifest.at(key).is_object())
      refuse(cat("has no object \"", key, "\""));
    return manifest.at(key);
  };
  const auto files = section("files"), tensors = section("tensors");
  for (const auto* name : kCheckpointFiles)
    if (!files.contains(name)) refuse(cat("does not list ", name));
  std::vector<Listed> out;
  for (const auto& [name, entry] : files.items()) {
    if (!is_plain_name(name)) refuse(cat("lists \"", printable(name), "\", no file name"));
    const auto sha256 = entry.is_object() ? entry.value("sha256", Json()) : Json();
    if (!sha256.is_string()) refuse(cat("has no sha256 of ", printable(name)));
    const auto size = json_integer(entry, "size", 0, cat((folder / kName).string(), ": ", name),
                                   kUseAnother, ErrorKind::checkpoint);
    out.push_back({folder / name, static_cast<std::uint64_t>(size), sha256.get<std::string>(),
                   tensors.value(name, Json::object())});
  }
  return out;
}

std::string sha256_of(const FileReader& file, std::uint64_t begin, std::uint64_t end) {
  Sha256 sum;
  file.read_blocks(begin, end, [&](std::string_view block) { sum.update(block); });
  return sum.hex();
}

/// " (tensor NAME, NAME)" for the tensors whose checksums do not fit, where the header still reads.
std::string damaged_tensors(const Listed& listed, const FileReader& file) {
  std::vector<std::string> names;
  try {
    const auto header = read_safetensors(file, listed.path.string());
    for (const auto& tensor : header.tensors) {
      const auto sum =
          sha256_of(file, header.data_begin + tensor.begin, header.data_begin + tensor.end);
      const auto wanted =
          listed.tensors.is_object() ? listed.tensors.value(tensor.name, Json()) : Json();
      if (wanted != sum) names.push_back(cat("\"", printable(tensor.name, 200), "\""));
    }
  } catch (const Error&) {
    return " (its header)";
  }
  return names.empty() ? " (its header)" : cat(" (tensor ", join(names, ", "), ")");
}

void verify_bytes(const Listed& listed) {
  const FileReader file(listed.path, ErrorKind::checkpoint);
  if (file.size() == listed.size && sha256_of(file, 0, listed.size) == listed.sha256) return;
  const bool has_tensors = listed.path.extension() == ".safetensors";
  damaged(listed.path,
          "its checksum does not fit" + (has_tensors ? damaged_tensors(listed, file) : ""));
}

}  // namespace

std::string make_manifest(std::int64_t step, const std::vector<CheckpointFile>& files) {
  Json listed = Json::object(), tensors = Json::object();
  for (const auto& file : files) {
    Sha256 whole;
    std::uint64_t size = 0;
    for (const auto& piece : file.pieces) {
      whole.update(piece.bytes);
      size += piece.bytes.size();
      if (!piece.name.empty()) tensors[file.name][piece.name] = sha256_hex(piece.bytes);
    }
    listed[file.name] = {{"size", size}, {"sha256", whole.hex()}};
  }
  return rendered(sealed({{"format_version", kFormatVersion},
                          {"makemoe", std::string(version())},
                          {"step", step},
                          {"files", listed},
                          {"tensors", tensors}}));
}

Manifest verify_manifest(const fs::path& folder) {
  const auto manifest = read_sealed(folder);
  Manifest out;
  out.step = json_integer(manifest, "step", 0, (folder / kName).string(), kUseAnother,
                          ErrorKind::checkpoint);
  const auto files = listed_files(manifest, folder);
  for (const auto& file : files) {
    std::error_code error;
    const auto size = fs::file_size(file.path, error);
    if (error) damaged(file.path, cat("cannot be read: ", error.message()));
    if (size != file.size)
      damaged(file.path, cat("has ", size, " bytes where ", file.size, " belong"));
    out.bytes += size;
  }
  for (const auto& file : files) verify_bytes(file);
  return out;
}

}  // namespace moe
