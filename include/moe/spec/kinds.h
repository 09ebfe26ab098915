#pragma once

#include <array>
#include <string_view>

#include "moe/spec/names.h"

namespace moe {

// The kinds that a part of a model may be of, with their names in files. Without containers: the
// kernels of each processor level are compiled with this header.

/// Which experts are chosen: by logits with learned noise (Shazeer et al. 2017, arXiv 1701.06538,
/// eq. 3-5), or without; or by a hash of the token's symbol (Roller et al. 2021, arXiv 2106.04426).
enum class RouterKind { noisy_topk, topk, hash };
/// Gates from logits: softmax over the chosen; softmax over all, then the chosen; sigmoids of the
/// chosen over their sum.
enum class Gate { topk_softmax, softmax_topk, sigmoid };
/// Layer norm (Ba et al. 2016, arXiv 1607.06450) or RMS norm (Zhang and Sennrich 2019, arXiv
/// 1910.07467), which has no bias.
enum class NormKind { layer, rms };
/// Of an expert's hidden layer: max(0, x); x Phi(x) by the error function itself (Hendrycks and
/// Gimpel 2016, arXiv 1606.08415); x sigmoid(x); max(0, x)^2 (So et al. 2021, arXiv 2109.08668); of
/// two Linears side by side, silu(gate) * up (Shazeer 2020, arXiv 2002.05202).
enum class Activation { relu, gelu, silu, relu2, swiglu };
/// Whether it reads a gate beside each value: twice as many arguments as values.
constexpr bool is_gated(Activation activation) { return activation == Activation::swiglu; }
/// How a model knows positions: by a table that is added to the embedding; by rotating queries and
/// keys (Su et al. 2021, arXiv 2104.09864); not at all but by the causal mask.
enum class Positions { learned, rotary, none };
/// RMS norm of each head's query and key, with one gain for all heads (Dehghani et al. 2023, arXiv
/// 2302.05442).
enum class QkNorm { none, head };
/// How Linear weights are drawn; `standard` is PyTorch's way.
enum class Init { standard, kaiming_normal, xavier_normal, small_normal };

template <>
struct EnumNames<RouterKind> {
  static constexpr std::array<std::string_view, 3> names{"noisy_topk", "topk", "hash"};
};
template <>
struct RefusedNames<RouterKind> {
  static constexpr std::array<RefusedName, 4> names{
      {{"expert_choice",
        "experts choose their tokens, so that what a token gets depends on later ones and on the "
        "rest of the batch"},
       {"soft", "each expert takes means over all tokens, of which later ones are a part"},
       {"sinkhorn",
        "it balances the choices of a whole batch, so that a token's depend on later ones and on "
        "the rest of the batch"},
       {"mixture_of_depths",
        "a layer takes the tokens with the largest scores of a window, so that later ones decide "
        "about earlier ones"}}};
};
template <>
struct EnumNames<Gate> {
  static constexpr std::array<std::string_view, 3> names{"topk_softmax", "softmax_topk", "sigmoid"};
};
template <>
struct EnumNames<NormKind> {
  static constexpr std::array<std::string_view, 2> names{"layer", "rms"};
};
template <>
struct EnumNames<Activation> {
  static constexpr std::array<std::string_view, 5> names{"relu", "gelu", "silu", "relu2", "swiglu"};
};
template <>
struct EnumNames<Positions> {
  static constexpr std::array<std::string_view, 3> names{"learned", "rotary", "none"};
};
template <>
struct EnumNames<QkNorm> {
  static constexpr std::array<std::string_view, 2> names{"none", "head"};
};
template <>
struct EnumNames<Init> {
  static constexpr std::array<std::string_view, 4> names{"default", "kaiming_normal",
                                                         "xavier_normal", "small_normal"};
};

}  // namespace moe
