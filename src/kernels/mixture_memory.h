#pragma once

#include "kernels/conv_call.h"
#include "kernels/side_call.h"
#include "moe/kernels/slot_table.h"

namespace moe::kernels {

// The memory of a call of a mixture layer, for those who use it and those who count it.

template <class T>
std::int64_t most_panels(const cpu::Mixture<T>& layer) {
  return slot_panels(layer.tokens * layer.token_slots(), layer.all_experts());
}

/// The memory that forward takes and, if it keeps, leaves to backward. Returns the convolution's
/// room for its weight.
template <class T>
T* lay_out_forward(cpu::Mixture<T>& layer, bool has_capacity, Memory& memory) {
  const auto n = layer.tokens, c = layer.width, e = layer.experts, m = layer.token_slots();
  const auto rows = cpu::panels_of(n) * cpu::kPanel, slots = most_panels(layer) * cpu::kPanel;
  lay_out_statistics(layer.norm, rows, memory);
  layer.normed = memory.values<T>(rows * cpu::padded(c));
  layer.router_input = layer.normed;
  if (layer.jitter.reach > 0) layer.router_input = memory.values<T>(rows * cpu::padded(c));
  layer.logits = memory.values<T>(n * e);
  layer.noise_slope = memory.values<T>(n * e);
  layer.gates = memory.values<T>(n * m);
  layer.chosen = memory.values<std::int32_t>(n * m);
  layer.served = has_capacity ? memory.values<unsigned char>(n * m) : nullptr;
  layer.first_panel = memory.values<std::int32_t>(layer.all_experts() + 1);
  layer.slots = memory.values<std::int32_t>(slots);
  if (layer.keeps) layer.hidden = memory.values<T>(slots * layer.up_width);
  layer.answers = memory.values<T>(n * m * cpu::padded(c));
  lay_out_balance(layer, memory);
  return lay_out_conv(layer.conv, n, c, memory);
}

template <class T>
void lay_out_backward(cpu::Mixture<T>& layer, Memory& memory) {
  const auto n = layer.tokens, c = layer.width, e = layer.experts, m = layer.token_slots();
  const auto f = layer.hidden_width, slots = most_panels(layer) * cpu::kPanel;
  const auto panels = cpu::panels_of(n);
  layer.d_gates = memory.values<T>(n * m);
  layer.d_answers = memory.values<T>(slots * c);
  layer.d_hidden = memory.values<T>(slots * layer.up_width);
  layer.hidden_turned = memory.values<T>(slots * cpu::padded(f));
  layer.input_turned = memory.values<T>(slots * cpu::padded(c));
  layer.d_inputs = memory.values<T>(n * m * cpu::padded(c));
  layer.d_token_logits = memory.values<T>(n * e);
  layer.d_logits = memory.values<T>(panels * 2 * e * cpu::kPanel);
  if (layer.gates_shared) layer.d_shared = memory.values<T>(panels * cpu::kPanel);
  layer.norm_parts = memory.values<T>(panels * 2 * cpu::padded(c));
  if (layer.conv.taps > 0) layer.d_convolved = memory.values<T>(n * cpu::padded(c));
  lay_out_conv_parts(layer.conv, panels, c, memory);
}

}  // namespace moe::kernels
