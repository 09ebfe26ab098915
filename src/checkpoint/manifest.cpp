#include "moe/checkpoint/manifest.h"

#include "moe/base/file.h"
#include "moe/base/json.h"
#include "moe/base/sha256.h"
#include "moe/base/text.h"
#include "moe/base/version.h"
#include "moe/checkpoint/safetensors.h"

namespace moe {

namespace {

constexpr std::int64_t kFormatVersion = 1;
constexpr const char* kName = "manifest.json";
constexpr std::uint64_t kMaxBytes = std::uint64_t{64} << 20U;
constexpr int kMaxDepth = 8;

[[noreturn]] void damaged(const fs::path& file, const std::string& what) {
  throw CheckpointError(cat(file.string(), ": ", what, "; use another checkpoint of the run"));
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
  const auto found = body.value("format_version", Json(nullptr));
  if (found.is_number_integer() && found.get<std::int64_t>() > kFormatVersion)
    throw CheckpointError(cat(path.string(), ": format version ", json_text(found),
                              ", this makemoe reads up to ", kFormatVersion,
                              "; use a newer makemoe"));
  // The text too: a byte that changed no value is a changed byte all the same.
  if (sealed(body) != manifest || rendered(manifest) != text)
    damaged(path, "its checksum does not fit");
  return body;
}

/// " (tensor NAME)" for the first tensor whose checksum does not fit, where the header still reads.
std::string damaged_tensor(const Json& checksums, std::string_view bytes, const fs::path& path) {
  try {
    const auto header = parse_safetensors(bytes, path.string());
    for (const auto& tensor : header.tensors) {
      const auto data = bytes.substr(header.data_begin + tensor.begin, tensor.end - tensor.begin);
      if (checksums.value(tensor.name, "") != sha256_hex(data))
        return cat(" (tensor \"", printable(tensor.name, 200), "\")");
    }
  } catch (const Error&) {
    return " (its header)";
  }
  return "";
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

std::uint64_t verify_manifest(const fs::path& folder) {
  const auto manifest = read_sealed(folder);
  std::uint64_t total = 0;
  for (const auto& item : manifest.at("files").items()) {
    const auto& name = item.key();
    const auto path = folder / name;
    const auto expected = item.value().at("size").get<std::uint64_t>();
    const auto bytes = read_file(path, ErrorKind::checkpoint);
    if (bytes.size() != expected)
      damaged(path, cat("has ", bytes.size(), " bytes where ", expected, " belong"));
    if (sha256_hex(bytes) != item.value().at("sha256").get<std::string>())
      damaged(path,
              "its checksum does not fit" +
                  damaged_tensor(manifest.at("tensors").value(name, Json::object()), bytes, path));
    total += bytes.size();
  }
  return total;
}

}  // namespace moe
