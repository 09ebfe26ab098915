#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "data/bpe_tables.h"

namespace moe {

/// Appends the ids that the bytes of one chunk become by merges: the merge of lowest rank first, of
/// several places the leftmost. Short chunks are searched for it again and again; long ones keep a
/// heap, so that none takes more than n log n.
void merge_chunk(const BpeTables& tables, std::string_view chunk, std::vector<std::int32_t>& ids);

}  // namespace moe
