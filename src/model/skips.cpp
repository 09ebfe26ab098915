#include "moe/model/skips.h"

#include <ATen/ATen.h>

namespace moe {

LambdaImpl::LambdaImpl() : weight_(register_parameter("weight", at::zeros({1}))) {}

NgramTableImpl::NgramTableImpl(const NgramKeys& keys, std::int64_t width, std::int64_t symbols)
    : order_(keys.order),
      symbols_(symbols),
      runs_(at::empty({keys.rows()}, at::kLong)),
      weight_(register_parameter("weight", at::zeros({keys.rows(), width}))) {
  auto* run = runs_.mutable_data_ptr<std::int64_t>();
  for (std::int64_t row = 0; row < keys.rows(); ++row)
    run[row] = run_number(keys.symbols.data() + row * order_, order_, symbols);
}

at::Tensor NgramTableImpl::forward(const at::Tensor& ids) {
  const auto time = ids.size(1) - order_ + 1;
  auto numbers = at::zeros({ids.size(0), time}, ids.options());
  for (std::int64_t i = 0; i < order_; ++i)
    numbers = numbers * (symbols_ + 1) + ids.narrow(1, i, time);
  if (runs_.numel() == 0) return weight_.new_zeros({ids.size(0), time, weight_.size(1)});
  if (runs_.device() != ids.device()) runs_ = runs_.to(ids.device());
  const auto rows = at::searchsorted(runs_, numbers).clamp_max(runs_.size(0) - 1);  // (B, T)
  const auto found = runs_.index_select(0, rows.flatten()).view_as(rows);
  const auto has_row = found.eq(numbers).unsqueeze(-1);
  return at::embedding(weight_, rows) * has_row;
}

NgramTablesImpl::NgramTablesImpl(const ModelSpec& spec)
    : symbols_(spec.vocab), reach_(spec.ngram_reach()), dropout_(spec.dropout.ngrams) {
  for (const auto& keys : spec.ngrams)
    tables_.push_back(
        register_module(std::to_string(keys.order), NgramTable(keys, spec.width, spec.vocab)));
}

at::Tensor NgramTablesImpl::outside(const at::Tensor& ids) const {
  return at::full({ids.size(0), reach_}, symbols_, ids.options());
}

at::Tensor NgramTablesImpl::forward(const at::Tensor& ids, const at::Tensor& before,
                                    const ForwardContext& context) {
  const auto all = at::cat({before.defined() ? before : outside(ids), ids}, 1);
  at::Tensor sum;
  for (auto& table : tables_) {
    const auto count = ids.size(1) + table->table().order - 1;
    const auto rows = table->forward(all.narrow(1, all.size(1) - count, count));
    sum = sum.defined() ? sum + rows : rows;
  }
  if (!context.training || dropout_ == 0) return sum;
  return sum * kernels::dropout_mask(context.rows, sum.size(2), dropout_,
                                     draw_key(context, 0, DrawKind::ngram_dropout), sum)
                   .view(sum.sizes());
}

kernels::NgramTables NgramTablesImpl::tables() const {
  kernels::NgramTables out{symbols_, reach_, {}};
  for (const auto& table : tables_) out.tables.push_back(table->table());
  return out;
}

}  // namespace moe
