#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace moe {

/// How a message about a damaged checkpoint ends.
inline constexpr const char* kUseAnother = "use another checkpoint of the run";

/// A piece of a file under a name of its own: a tensor.
struct NamedBytes {
  std::string name;
  std::string_view bytes;
};

/// One file of a checkpoint, as pieces in the order in which they are written. Pieces with a name
/// get a checksum of their own.
struct CheckpointFile {
  std::string name;
  std::vector<NamedBytes> pieces;
};

/// manifest.json: size and sha256 of every file, a checksum of every tensor, and its own
/// (docs/formats.md).
std::string make_manifest(std::int64_t step, const std::vector<CheckpointFile>& files);

/// What a manifest that fits its folder says.
struct Manifest {
  std::int64_t step = 0;
  std::uint64_t bytes = 0;  // of all files
};

/// Checks every file of the folder against its manifest: first all sizes, then all bytes. Throws
/// CheckpointError naming the file, and the tensors where it can.
Manifest verify_manifest(const std::filesystem::path& folder);

}  // namespace moe
