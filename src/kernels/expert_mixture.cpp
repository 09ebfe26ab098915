#include "moe/kernels/expert_mixture.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "moe/kernels/activation.h"

namespace moe::kernels {

namespace {

// Shapes: P blocks of R rows, S = N * K slots, U what an expert's first Linear yields: F, of a
// gated expert 2F.

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// An undefined tensor may not be an argument of an autograd function; an empty optional may.
std::optional<at::Tensor> if_defined(const at::Tensor& tensor) {
  return tensor.defined() ? std::optional(tensor) : std::nullopt;
}
/// Gates and what they weigh as one Linear: (E, 2F, C), (E, 2F).
ExpertWeights side_by_side(const ExpertWeights& w) {
  return {w.w1.dim() == 4 ? w.w1.flatten(1, 2) : w.w1,
          w.b1.defined() && w.b1.dim() == 3 ? w.b1.flatten(1, 2) : w.b1, w.w2, w.b2};
}

/// values (V, ...) [index], and zeros where the index is V.
at::Tensor gathered(const at::Tensor& values, const at::Tensor& index) {
  const auto count = values.size(0);
  auto out = values.index_select(0, index.clamp_max(count - 1));
  return out.masked_fill_(index.ge(count).view({-1, 1}), 0);
}

/// x (N, C) as the blocks read it: (P, R, C).
at::Tensor inputs_of(const at::Tensor& x, const ExpertRows& rows, std::int64_t k) {
  const auto& layout = rows.layout;
  if (layout.is_every_token) return x.expand({layout.blocks, layout.rows, x.size(1)});
  return gathered(x, rows.slot_of_row.div(k, "floor")).view({layout.blocks, layout.rows, -1});
}

/// Of each expert (E, ...), as the blocks read it: (P, ...).
at::Tensor by_block(const at::Tensor& by_expert, const ExpertRows& rows) {
  return rows.layout.is_every_token ? by_expert : by_expert.index_select(0, rows.expert_of_block);
}

/// The sum over each expert's blocks: (P, ...) -> (E, ...). By a product, whose order is fixed.
at::Tensor by_expert(const at::Tensor& by_block, const ExpertRows& rows) {
  if (rows.layout.is_every_token) return by_block;
  const auto experts = rows.load.size(0);
  const auto owns = at::arange(experts, rows.load.options()).unsqueeze(1).eq(rows.expert_of_block);
  auto sizes = by_block.sizes().vec();
  sizes[0] = experts;
  return owns.to(by_block.scalar_type()).mm(by_block.flatten(1)).view(sizes);
}

/// rows (P, R, in) through a Linear of each block's expert: weights (P, out, in), biases (E, out).
at::Tensor linear(const at::Tensor& inputs, const at::Tensor& weights,
                  const std::optional<at::Tensor>& biases, const ExpertRows& rows) {
  if (!biases) return inputs.bmm(weights.transpose(1, 2));
  return at::baddbmm(by_block(*biases, rows).unsqueeze(1), inputs, weights.transpose(1, 2));
}

/// Forward and backward written out. `rows` come as tensors and whole numbers, as autograd asks.
struct ExpertMixture : torch::autograd::Function<ExpertMixture> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& gates,
                            const at::Tensor& w1, const std::optional<at::Tensor>& b1,
                            const at::Tensor& w2, const std::optional<at::Tensor>& b2,
                            const std::optional<at::Tensor>& mask, const ExpertRows& rows,
                            Activation activation) {
    const auto n = x.size(0), c = x.size(1), k = gates.size(1);
    const auto inputs = inputs_of(x, rows, k);
    const auto hidden = linear(inputs, by_block(w1, rows), b1, rows);  // (P, R, U)
    const auto answers = linear(activate(activation, hidden), by_block(w2, rows), b2, rows);
    auto by_slot = gathered(answers.view({-1, c}), rows.row_of_slot);  // (S, C)
    if (mask) by_slot.mul_(mask->view({n * k, c}));
    const auto y = (by_slot * gates.reshape({-1, 1})).view({n, k, c}).sum(1);
    context->save_for_backward({inputs, hidden, by_slot, gates, mask.value_or(at::Tensor()), w1, w2,
                                rows.expert_of_block, rows.slot_of_row, rows.row_of_slot,
                                rows.load});
    context->saved_data["blocks"] = rows.layout.blocks;
    context->saved_data["rows"] = rows.layout.rows;
    context->saved_data["is_every_token"] = rows.layout.is_every_token;
    context->saved_data["activation"] = static_cast<std::int64_t>(activation);
    context->saved_data["biases"] = b1.has_value();
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& outputs) {
    const auto saved = context->get_saved_variables();
    const auto &inputs = saved[0], &hidden = saved[1], &by_slot = saved[2], &gates = saved[3],
               &mask = saved[4], &w1 = saved[5], &w2 = saved[6];
    auto& data = context->saved_data;
    const ExpertRows rows{
        {data["blocks"].toInt(), data["rows"].toInt(), data["is_every_token"].toBool()},
        saved[7],
        saved[8],
        saved[9],
        saved[10]};
    const auto activation = static_cast<Activation>(data["activation"].toInt());
    const auto n = gates.size(0), k = gates.size(1), c = w1.size(2);

    const auto dy = outputs[0].unsqueeze(1);  // (N, 1, C)
    const auto d_gates = (by_slot.view({n, k, c}) * dy).sum(2);
    auto d_slots = (dy * gates.unsqueeze(2)).view({n * k, c});
    if (mask.defined()) d_slots.mul_(mask.view({n * k, c}));
    const auto& layout = rows.layout;
    const auto d_rows =  // (P, R, C)
        gathered(d_slots, rows.slot_of_row).view({layout.blocks, layout.rows, c});

    const auto value = activate(activation, hidden);  // (P, R, F)
    const auto d_hidden =
        activation_gradient(activation, hidden, d_rows.bmm(by_block(w2, rows)));  // (P, R, U)
    const auto d_inputs = d_hidden.bmm(by_block(w1, rows)).view({-1, c});
    const auto d_x = gathered(d_inputs, rows.row_of_slot).view({n, k, c}).sum(1);
    const auto weights = [&](const at::Tensor& d, const at::Tensor& from) {
      return by_expert(d.transpose(1, 2).bmm(from), rows);
    };
    const auto biases = [&](const at::Tensor& d) {
      return data["biases"].toBool() ? by_expert(d.sum(1), rows) : at::Tensor();
    };
    return {d_x,
            d_gates,
            weights(d_hidden, inputs),
            biases(d_hidden),
            weights(d_rows, value),
            biases(d_rows),
            at::Tensor(),
            at::Tensor(),
            at::Tensor()};
  }
};

}  // namespace

at::Tensor expert_mixture(const at::Tensor& x, const at::Tensor& gates, const at::Tensor& mask,
                          const ExpertRows& rows, const ExpertWeights& stacked,
                          Activation activation) {
  const auto w = side_by_side(stacked);
  return ExpertMixture::apply(x, gates, w.w1, if_defined(w.b1), w.w2, if_defined(w.b2),
                              if_defined(mask), rows, activation);
}

at::Tensor expert_mixture_reference(const at::Tensor& x, const at::Tensor& gates,
                                    const at::Tensor& mask, const ExpertRows& rows,
                                    const ExpertWeights& stacked, Activation activation) {
  const auto w = side_by_side(stacked);
  const auto n = x.size(0), k = gates.size(1);
  auto y = at::zeros_like(x);
  const auto nobody = at::full({1}, -1, rows.expert_of_block.options());
  const auto experts = at::cat({rows.expert_of_block, nobody})
                           .index_select(0, rows.row_of_slot.div(rows.layout.rows, "floor"))
                           .view({n, k});
  for (std::int64_t e = 0; e < w.w1.size(0); ++e) {
    const auto chosen = experts.eq(e).to(x.scalar_type());
    auto hidden = x.matmul(w.w1[e].t());
    if (w.b1.defined()) hidden = hidden + w.b1[e];
    auto answer = activate(activation, hidden).matmul(w.w2[e].t());
    if (w.b2.defined()) answer = answer + w.b2[e];
    answer = answer.unsqueeze(1);                // (N, 1, C)
    if (mask.defined()) answer = answer * mask;  // (N, K, C)
    y = y + (answer * (gates * chosen).unsqueeze(2)).sum(1);
  }
  return y;
}

}  // namespace moe::kernels
