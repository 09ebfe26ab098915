#include "moe/model/flat.h"

#include <ATen/ATen.h>

#include "moe/kernels/flat_memory.h"

namespace moe {

namespace {

/// The tensor that the modules registered as `row`.
at::Tensor registered(const torch::OrderedDict<std::string, at::Tensor>& parameters,
                      const ParameterRow& row) {
  const auto* parameter = parameters.find(row.name);
  TORCH_CHECK(parameter != nullptr && parameter->sizes() == at::IntArrayRef(row.shape), row.name,
              ": is in the table of parameters, but not so in the modules");
  return *parameter;
}

}  // namespace

std::int64_t PublishedTensor::numel() const {
  std::int64_t count = 1;
  for (const auto size : shape) count *= size;
  return count;
}

FlatParameters::FlatParameters(SparseMoELanguageModel model)
    : table_(model->spec()), ngrams_(model->spec().ngrams) {
  const auto parameters = model->named_parameters();
  TORCH_CHECK(parameters.size() == table_.rows().size(),
              "the modules have parameters that are not in the table");
  const auto options = parameters[0].value().options().requires_grad(false);
  values_ = kernels::flat_zeros(table_.count() + table_.count_untrained(), options);
  trained_ = values_.narrow(0, 0, table_.count());
  gradients_ = kernels::flat_zeros(table_.count(), options);
  std::vector<std::int64_t> offsets;
  std::vector<at::Tensor> in_order;
  std::int64_t at = 0;
  for (const auto& row : table_.rows()) {
    auto parameter = registered(parameters, row);
    auto values = values_.narrow(0, at, row.numel()).view(row.shape);
    values.copy_(parameter.detach());
    parameter.set_data(values);
    if (row.is_trained()) {
      parameter.mutable_grad() = gradients_.narrow(0, at, row.numel()).view(row.shape);
      in_order.push_back(parameter);
    }
    offsets.push_back(at);
    at += row.numel();
  }
  ledger_ = {gradients_, in_order};
  for (auto& piece : table_.published()) {
    const auto& row = table_.rows()[piece.row];
    const auto offset = offsets[piece.row] + piece.piece * row.piece_numel();
    layout_.push_back({std::move(piece.name), offset, row.piece_shape, piece.row});
  }
}

std::vector<PublishedTensor> FlatParameters::trained_layout() const {
  std::vector<PublishedTensor> out;
  for (const auto& tensor : layout_)
    if (table_.rows()[tensor.row].is_trained()) out.push_back(tensor);
  return out;
}

at::Tensor FlatParameters::view(const at::Tensor& flat, const PublishedTensor& tensor) {
  return flat.narrow(0, tensor.offset, tensor.numel()).view(tensor.shape);
}

}  // namespace moe
