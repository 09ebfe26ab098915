#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "moe/exchange/twin.h"
#include "moe/spec/model_spec.h"

namespace moe {

/// A tensor of ours within one of others: (rows, columns), a vector being one column wide.
struct TensorPart {
  /// Published names (docs/formats.md): one, or on reading several that get the same values.
  std::vector<std::string> names;
  std::int64_t rows, columns;
};

/// A tensor of others and which of ours it consists of.
struct ForeignTensor {
  enum class Join { rows, columns };

  std::string name;
  std::vector<std::int64_t> shape;
  std::vector<TensorPart> parts;  // none: zeros, since ours has nothing there
  Join join = Join::rows;         // parts stand one after another, or side by side
  double factor = 1;              // theirs is ours times this, a power of 2
  bool keeps_float32 = false;     // in files of fewer bits too
  /// Whether the rows of each part have its halves in turns: 0, R/2, 1, R/2 + 1, ...
  bool takes_turns = false;

  std::int64_t numel() const;
};

/// Heads of keys and values where several heads of queries share one; ours has one for each.
struct KeyValueHeads {
  std::int64_t count;
};

/// The tensors of a twin as transformers names them, in the order of the model.
std::vector<ForeignTensor> folder_tensors(const ModelSpec& spec, const Twin& twin);
/// The same with fewer heads of keys and values, for reading; `heads.count` divides the heads.
std::vector<ForeignTensor> folder_tensors(const ModelSpec& spec, const Twin& twin,
                                          KeyValueHeads heads);

/// Our values under a published name.
using ValuesOf = std::function<std::span<const float>(const std::string& name)>;
/// Where to put them.
using PlaceOf = std::function<std::span<float>(const std::string& name)>;

/// The values of a tensor, from ours.
std::vector<float> gather(const ForeignTensor& tensor, const ValuesOf& ours);
/// The reverse. `values` are as many as the shape says.
void scatter(const ForeignTensor& tensor, std::span<const float> values, const PlaceOf& ours);

}  // namespace moe
