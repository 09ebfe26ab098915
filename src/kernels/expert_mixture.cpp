#include "moe/kernels/expert_mixture.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "moe/kernels/activation.h"

namespace moe::kernels {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Rows [begin, end) of the slots of expert e.
struct Segment {
  std::int64_t expert, begin, count;
  at::Tensor rows(const at::Tensor& stacked) const { return stacked.narrow(0, begin, count); }
};

std::vector<Segment> busy_segments(const std::vector<std::int64_t>& begins) {
  std::vector<Segment> segments;
  for (std::size_t e = 0; e + 1 < begins.size(); ++e)
    if (begins[e + 1] > begins[e])
      segments.push_back({static_cast<std::int64_t>(e), begins[e], begins[e + 1] - begins[e]});
  return segments;
}

/// E + 1 bounds into slots_without_gaps.
std::vector<std::int64_t> begins_of(const SlotTable& table) {
  const auto load = table.load.cpu();
  const auto* served = load.const_data_ptr<std::int64_t>();
  std::vector<std::int64_t> begins{0};
  for (std::int64_t e = 0; e < load.numel(); ++e) begins.push_back(begins.back() + served[e]);
  return begins;
}
at::Tensor slots_without_gaps(const SlotTable& table) {
  return table.slots.masked_select(table.slots.ge(0)).to(at::kLong);
}

/// An undefined tensor may not be an argument of an autograd function; an empty optional may.
std::optional<at::Tensor> if_defined(const at::Tensor& tensor) {
  return tensor.defined() ? std::optional(tensor) : std::nullopt;
}
/// Gates and what they weigh as one Linear: (E, 2F, C), (E, 2F).
ExpertWeights side_by_side(const ExpertWeights& w) {
  return {w.w1.dim() == 4 ? w.w1.flatten(1, 2) : w.w1,
          w.b1.defined() && w.b1.dim() == 3 ? w.b1.flatten(1, 2) : w.b1, w.w2, w.b2};
}
void add_bias(at::Tensor& rows, const at::Tensor& bias, std::int64_t expert) {
  if (bias.defined()) rows.add_(bias[expert]);
}

/// y (N, C) from what the slots answered: slot s adds gate * row to token slots[s] / K. Every token
/// has its K slots in one fixed order, so that the sum has one order too.
at::Tensor combine(const at::Tensor& rows, const at::Tensor& slots, std::int64_t n,
                   std::int64_t k) {
  auto by_slot = rows.size(0) == n * k ? at::empty({n * k, rows.size(1)}, rows.options())
                                       : at::zeros({n * k, rows.size(1)}, rows.options());
  by_slot.index_copy_(0, slots, rows);
  const auto answers = by_slot.view({n, k, rows.size(1)});
  auto y = answers.select(1, 0).clone();
  for (std::int64_t choice = 1; choice < k; ++choice) y.add_(answers.select(1, choice));
  return y;
}

/// Forward and backward written out: matrix products go into preallocated rows sorted by expert.
struct ExpertMixture : torch::autograd::Function<ExpertMixture> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& gates,
                            const at::Tensor& w1, const std::optional<at::Tensor>& b1,
                            const at::Tensor& w2, const std::optional<at::Tensor>& b2,
                            const std::optional<at::Tensor>& mask, const at::Tensor& slots,
                            const std::vector<std::int64_t>& begins, Activation activation) {
    const auto n = x.size(0), c = x.size(1), k = gates.size(1), f = w1.size(1);
    const auto inputs = x.index_select(0, slots.div(k, "floor"));  // (S, C)
    const auto hidden = at::empty({slots.numel(), f}, x.options());
    auto answers = at::empty({slots.numel(), c}, x.options());
    for (const auto& segment : busy_segments(begins)) {
      auto h = segment.rows(hidden);
      auto y = segment.rows(answers);
      at::mm_out(h, segment.rows(inputs), w1[segment.expert].t());
      if (b1) h.add_((*b1)[segment.expert]);
      at::mm_out(y, activate(activation, h), w2[segment.expert].t());
      if (b2) y.add_((*b2)[segment.expert]);
    }
    at::Tensor slot_mask;
    if (mask) {
      slot_mask = mask->view({n * k, c}).index_select(0, slots);
      answers.mul_(slot_mask);
    }
    const auto slot_gates = gates.reshape({-1}).index_select(0, slots).unsqueeze(1);  // (S, 1)
    context->save_for_backward({inputs, hidden, answers, slot_gates, slot_mask, w1, w2, slots});
    context->saved_data["begins"] = begins;
    context->saved_data["activation"] = static_cast<std::int64_t>(activation);
    context->saved_data["biases"] = b1.has_value();
    context->saved_data["k"] = k;
    context->saved_data["n"] = n;
    return combine(answers * slot_gates, slots, n, k);
  }

  static variable_list backward(AutogradContext* context, const variable_list& outputs) {
    const auto saved = context->get_saved_variables();
    const auto &inputs = saved[0], &hidden = saved[1], &answers = saved[2], &slot_gates = saved[3],
               &slot_mask = saved[4], &w1 = saved[5], &w2 = saved[6], &slots = saved[7];
    const auto begins = context->saved_data["begins"].toIntVector();
    const auto n = context->saved_data["n"].toInt(), k = context->saved_data["k"].toInt();
    const auto activation = static_cast<Activation>(context->saved_data["activation"].toInt());
    const bool has_biases = context->saved_data["biases"].toBool();

    auto dy = outputs[0].index_select(0, slots.div(k, "floor"));  // (S, C) of the gated answers
    auto d_gates = at::zeros({n * k}, dy.options());
    d_gates.index_copy_(0, slots, (dy * answers).sum(1));
    dy.mul_(slot_gates);
    if (slot_mask.defined()) dy.mul_(slot_mask);

    auto d_w1 = at::empty_like(w1), d_w2 = at::empty_like(w2);
    auto d_b1 = at::zeros({w1.size(0), w1.size(1)}, w1.options());
    auto d_b2 = at::zeros({w2.size(0), w2.size(1)}, w2.options());
    auto d_inputs = at::empty_like(inputs);
    auto d_hidden = at::empty_like(hidden);
    for (std::size_t e = 0; e + 1 < begins.size(); ++e) {
      const auto expert = static_cast<std::int64_t>(e);
      const Segment segment{expert, begins[e], begins[e + 1] - begins[e]};
      auto dw1 = d_w1[expert], dw2 = d_w2[expert];
      if (segment.count == 0) {  // no token this step: its gradient is zero, not missing
        dw1.zero_();
        dw2.zero_();
        continue;
      }
      const auto h = segment.rows(hidden), d = segment.rows(dy);
      auto dh = segment.rows(d_hidden), dx = segment.rows(d_inputs);
      auto db1 = d_b1[expert], db2 = d_b2[expert];
      at::mm_out(dw2, d.t(), activate(activation, h));
      at::sum_out(db2, d, 0);
      dh.copy_(activation_gradient(activation, h, d.mm(w2[expert])));
      at::mm_out(dw1, dh.t(), segment.rows(inputs));
      at::sum_out(db1, dh, 0);
      at::mm_out(dx, dh, w1[expert]);
    }
    return {combine(d_inputs, slots, n, k),
            d_gates.view({n, k}),
            d_w1,
            has_biases ? d_b1 : at::Tensor(),
            d_w2,
            has_biases ? d_b2 : at::Tensor(),
            at::Tensor(),
            at::Tensor(),
            at::Tensor(),
            at::Tensor()};
  }
};

}  // namespace

at::Tensor expert_mixture(const at::Tensor& x, const at::Tensor& gates, const at::Tensor& mask,
                          const SlotTable& table, const ExpertWeights& stacked,
                          Activation activation) {
  const auto w = side_by_side(stacked);
  return ExpertMixture::apply(x, gates, w.w1, if_defined(w.b1), w.w2, if_defined(w.b2),
                              if_defined(mask), slots_without_gaps(table), begins_of(table),
                              activation);
}

at::Tensor expert_mixture_reference(const at::Tensor& x, const at::Tensor& gates,
                                    const at::Tensor& mask, const SlotTable& table,
                                    const ExpertWeights& stacked, Activation activation) {
  const auto w = side_by_side(stacked);
  const auto n = x.size(0), k = gates.size(1);
  auto y = at::zeros_like(x);
  const auto slots = slots_without_gaps(table);
  const auto begins = begins_of(table);
  for (std::size_t e = 0; e + 1 < begins.size(); ++e) {
    const auto expert = static_cast<std::int64_t>(e);
    auto chosen = at::zeros({n * k}, x.options());  // 1 where this expert serves the slot
    chosen.index_fill_(0, slots.slice(0, begins[e], begins[e + 1]), 1);
    auto hidden = x.matmul(w.w1[expert].t());
    add_bias(hidden, w.b1, expert);
    auto answer = activate(activation, hidden).matmul(w.w2[expert].t());
    add_bias(answer, w.b2, expert);
    answer = answer.unsqueeze(1);                // (N, 1, C)
    if (mask.defined()) answer = answer * mask;  // (N, K, C)
    y = y + (answer * (gates * chosen.view({n, k})).unsqueeze(2)).sum(1);
  }
  return y;
}

}  // namespace moe::kernels
