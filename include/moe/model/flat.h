#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "moe/kernels/gradient_ledger.h"
#include "moe/model/language_model.h"
#include "moe/spec/parameter_table.h"

namespace moe {

/// A tensor under its published name (docs/formats.md): a contiguous piece of the flat buffers.
struct PublishedTensor {
  std::string name;                 // e.g. "blocks.0.sa.heads.3.key.weight"
  std::int64_t offset;              // first element in a flat buffer
  std::vector<std::int64_t> shape;  // PyTorch layout
  std::size_t row;                  // of FlatParameters::table()
  std::int64_t numel() const;
};

/// All parameters of a model in one buffer and all gradients in another; the modules see views.
/// Behind the P values that are trained lie those that are not, which have no gradients.
/// Afterwards the model must not be moved to another device or dtype.
class FlatParameters {
 public:
  explicit FlatParameters(SparseMoELanguageModel model);

  at::Tensor& values() { return values_; }        // (P and the values that are not trained)
  at::Tensor& trained() { return trained_; }      // (P) of the values
  at::Tensor& gradients() { return gradients_; }  // (P)
  const at::Tensor& values() const { return values_; }
  const at::Tensor& gradients() const { return gradients_; }
  /// Who writes which gradient first in an update (ForwardContext::gradients).
  kernels::GradientLedger& ledger() { return ledger_; }
  const ParameterTable& table() const { return table_; }
  /// Of the n-gram tables, which are part of every file with weights.
  const std::vector<NgramKeys>& ngrams() const { return ngrams_; }
  /// In the order of the published model's state_dict, `tril` buffers left out.
  const std::vector<PublishedTensor>& layout() const { return layout_; }
  /// Those that gradients and the optimizer know.
  std::vector<PublishedTensor> trained_layout() const;
  /// The piece of a flat buffer that `tensor` names, as a view of its shape.
  static at::Tensor view(const at::Tensor& flat, const PublishedTensor& tensor);

 private:
  ParameterTable table_;
  std::vector<NgramKeys> ngrams_;
  at::Tensor values_, trained_, gradients_;
  kernels::GradientLedger ledger_{{}, {}};
  std::vector<PublishedTensor> layout_;
};

}  // namespace moe
