#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "moe/base/file_reader.h"
#include "moe/exchange/foreign_tensors.h"
#include "moe/store/safetensors.h"

namespace moe {

/// The tensors of a folder of transformers: of model.safetensors, or of the files that
/// model.safetensors.index.json names. Headers are checked, nothing of the values is read.
class FolderWeights {
 public:
  /// Throws CheckpointError: there are no weights, an index names files that lie elsewhere or lack
  /// what it says, a tensor is there twice.
  explicit FolderWeights(const std::filesystem::path& folder);

  bool has(const std::string& name) const { return places_.contains(name); }
  std::vector<std::string> names() const;
  const TensorInfo& info(const std::string& name) const { return places_.at(name).info; }
  /// The file that has a tensor.
  const std::filesystem::path& file_of(const std::string& name) const;
  /// Of all tensors' values [bytes].
  std::uint64_t bytes() const;
  /// Its values as float32, whose count `to` has; the dtype is one that is read. False where some
  /// are not finite.
  bool read(const std::string& name, std::span<float> to) const;

 private:
  struct Shard {
    std::filesystem::path path;
    std::unique_ptr<FileReader> file;
    std::uint64_t data_begin;
  };
  struct Place {
    std::size_t shard;
    TensorInfo info;
  };

  void add_file(const std::filesystem::path& path);
  void add_files_of_index(const std::filesystem::path& index);

  std::filesystem::path folder_;
  std::vector<Shard> shards_;
  std::map<std::string, Place> places_;
};

/// The tensors of a folder that brings its own model: those of makemoe, name by name.
std::vector<ForeignTensor> published_tensors(const ModelSpec& spec);

/// Throws CheckpointError with every tensor that is missing, not known, of another shape or of a
/// dtype that is not read. Nothing is read but headers. `tied`: the last Linear's weight may be
/// there too.
void require_tensors(const FolderWeights& weights, const std::vector<ForeignTensor>& wanted,
                     bool tied, std::string_view where);

/// Fills our tensors, after require_tensors. Throws CheckpointError for NaN and infinity, unless
/// they are allowed, and for values that ours have no place for.
void read_weights(const FolderWeights& weights, const std::vector<ForeignTensor>& wanted, bool tied,
                  bool allows_nonfinite, std::string_view where, const PlaceOf& ours);

}  // namespace moe
