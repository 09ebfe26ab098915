#pragma once

#include "kernels/cpu/arguments.h"
#include "kernels/layer_call.h"
#include "kernels/side_loss.h"
#include "moe/spec/balance.h"

namespace moe::kernels {

// The part of the side losses in a call of a mixture layer.

/// What they need of a layer's tokens, `time` of which are a window.
inline cpu::Balance balance_arguments(const BalanceSpec& spec, std::int64_t time) {
  cpu::Balance balance;
  balance.on = spec.has_losses() || spec.has_bias();
  balance.probabilities = spec.switch_batch > 0 || spec.switch_sequence > 0;
  balance.squares = spec.z_loss > 0;
  balance.load = spec.importance_load > 0;
  balance.time = time;
  return balance;
}

/// Memory that forward takes and, if it keeps, leaves to backward.
template <class T>
void lay_out_balance(cpu::Mixture<T>& layer, Memory& memory) {
  auto& balance = layer.balance;
  if (!balance.on) return;
  const auto e = layer.experts, windows = layer.tokens / balance.time;
  balance.sums = memory.values<double>(windows * kBalanceSums * e);
  balance.log_squares = memory.values<double>(windows);
  balance.probability_slope = memory.values<double>(windows * e);
  balance.importance_slope = memory.values<double>(e);
  balance.load_slope = memory.values<double>(e);
  if (!layer.noisy) return;
  layer.clean_logits = memory.values<T>(layer.tokens * e);
  if (balance.load) layer.noise_std = memory.values<T>(layer.tokens * e);
}

/// Room for what a layer tells of its side losses besides their sum; undefined if it has none.
inline SideLoss side_tensors(const cpu::Balance& balance, std::int64_t experts,
                             Workspace* workspace) {
  if (!balance.on) return {};
  return {{},
          take_from(workspace, {kSideTerms}, at::kDouble),
          take_from(workspace, {kBalanceSums, experts}, at::kDouble)};
}
inline void count_side_tensors(const cpu::Balance& balance, std::int64_t experts, Memory& memory) {
  if (!balance.on) return;
  memory.values<double>(kSideTerms);
  memory.values<double>(kBalanceSums * experts);
}

/// The weighted loss of routed tokens; fills `side` and the slopes for backward. `update`: sums of
/// the whole update, or undefined.
template <class T>
double side_loss_of(cpu::Mixture<T>& layer, const BalanceSpec& spec, const at::Tensor& update,
                    const cpu::Table<T>& table, Memory& memory, const SideLoss& side) {
  auto& balance = layer.balance;
  const auto windows = layer.tokens / balance.time;
  run_with_scratch<T>(windows, memory, table.mixture_scratch(layer),
                      [&](std::int64_t w, T* room) { table.balance_sums(layer, w, room); });
  const SideSums sums{windows,      balance.time,        layer.experts,
                      balance.sums, balance.log_squares, values_or_null<double>(update)};
  SideSlopes slopes{balance.probability_slope, balance.importance_slope, balance.load_slope, 0};
  const auto terms = side_losses(spec, sums, side.sums.template mutable_data_ptr<double>(), slopes);
  balance.square_slope = slopes.square;
  std::copy(terms.begin(), terms.end(), side.terms.template mutable_data_ptr<double>());
  return weighted(spec, terms);
}

}  // namespace moe::kernels
