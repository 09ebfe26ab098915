#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "moe/config/config.h"
#include "moe/spec/vocabulary.h"

namespace moe {

/// The tensor with the keys of one table, (R, n) int64: "ngram.3.keys".
std::string ngram_keys_name(std::int64_t order);

/// The keys of the tables that a config asks for, from a safetensors file with their tensors; what
/// stands before such a name ("module.") does not count. Throws CheckpointError for tables that are
/// not there and for keys that are none: other shapes, ids beyond the symbols, not sorted.
std::vector<NgramKeys> read_ngram_keys(const std::filesystem::path& file, const NgramConfig& config,
                                       std::int64_t symbols);

}  // namespace moe
