#pragma once

#include <cstdint>

#include "kernels/cpu/skip_arguments.h"
#include "moe/spec/balance.h"
#include "moe/spec/kinds.h"

namespace moe::kernels::cpu {

// What the CPU kernels are handed: plain pointers, no libtorch. Shapes: B windows of T tokens,
// N = B*T, C n_embed, H n_head, D = C/H, E num_experts, K top_k, S shared_experts, F expert width,
// V vocabulary. A panel holds one value per feature of kPanel tokens, (width, kPanel), tokens side
// by side, so that tokens are the lanes of a vector. P panels hold a window, T rounded up; lanes
// beyond T are 0. Rows of tokens that a product reads as its right factor are padded with zeros to
// kPanel columns: padded(C).

inline constexpr int kPanel = 16;

constexpr std::int64_t padded(std::int64_t width) { return (width + kPanel - 1) / kPanel * kPanel; }
/// Blocks of four random words for `width` draws.
constexpr std::int64_t blocks_of(std::int64_t width) { return (width + 3) / 4; }
constexpr std::int64_t panels_of(std::int64_t tokens) { return (tokens + kPanel - 1) / kPanel; }

/// Counter-based dropout (moe/kernels/draws.h): words below the threshold drop, others scale.
struct Dropout {
  std::uint64_t key = 0;
  std::uint32_t site = 0, threshold = 0;
  double scale = 1;
  bool on = false;
};

/// Keys of the draws of N tokens, (N) each.
struct TokenKeys {
  const std::int64_t* sequence;
  const std::int64_t* position;
};

/// Counter-based standard normal draws (moe/kernels/draws.h).
struct Normals {
  std::uint64_t key = 0;
  std::uint32_t site = 0;
};

/// Counter-based factors from 1 - reach to 1 + reach.
struct Jitter {
  std::uint64_t key = 0;
  std::uint32_t site = 0;
  double reach = 0;  // 0: none
};

/// Where the gradient of a parameter goes: nowhere if it is null, as for a frozen one.
template <class T>
struct GradientSlot {
  T* to = nullptr;
  bool adds = true;  // to what is there; else it is replaced
  /// Of the values from `offset` on.
  GradientSlot from(std::int64_t offset) const {
    return {to == nullptr ? nullptr : to + offset, adds};
  }
};

/// A norm: weight (C), bias (C) or null, gradients, statistics (tokens).
template <class T>
struct Norm {
  NormKind kind = NormKind::layer;
  const T *weight = nullptr, *bias = nullptr;
  GradientSlot<T> d_weight = {}, d_bias = {};
  T *mean = nullptr, *inverse_std = nullptr;
  double eps = 0;
};

/// A convolution of each channel over the last `taps` rows of its window: those that a norm yields.
template <class T>
struct ShortConv {
  std::int64_t taps = 0;          // k; 0: there is none
  std::int64_t time = 0;          // tokens of a window, and in decoding
  std::int64_t past = 0;          // rows of earlier ones in front of them
  const T* weight = nullptr;      // (k, padded(C)): row j weighs the token j before; zeros beyond C
  T* rows = nullptr;              // (B, past + time, padded(C))
  GradientSlot<T> d_weight = {};  // (C, k)
  T* parts = nullptr;             // (tasks, k, padded(C)) one task's part of the weight's gradient
};

/// A Linear: weight (out, in), bias (out) or null, gradients.
template <class T>
struct Linear {
  const T *weight = nullptr, *bias = nullptr;
  GradientSlot<T> d_weight, d_bias;
  /// Number `i` of a stack of them, each (out, in).
  Linear stacked(std::int64_t i, std::int64_t out, std::int64_t in) const {
    return {weight + i * out * in, bias == nullptr ? nullptr : bias + i * out,
            d_weight.from(i * out * in), d_bias.from(i * out)};
  }
};

/// Keys and values of the positions of B sequences that a layer has seen, room for `capacity` of
/// them, a multiple of kPanel.
template <class T>
struct Cache {
  std::int64_t capacity = 0;
  T* keys = nullptr;    // (B, C, capacity): positions side by side
  T* values = nullptr;  // (B, capacity, C)
};

/// Tokens up to which a product takes them one by one, as scalar products with the rows of the
/// weight: memory bounds these, and a panel would be mostly empty.
inline constexpr std::int64_t kFewTokens = 3;
/// Rows of a weight, and hidden values of an expert, in one task of a step.
inline constexpr std::int64_t kStepRows = 64, kStepHidden = 128;
constexpr std::int64_t step_tasks(std::int64_t rows) { return (rows + kStepRows - 1) / kStepRows; }
/// Symbols whose logits one task of a step makes: a head has many, and a task turns the tokens
/// anew.
inline constexpr std::int64_t kStepSymbols = 256;
constexpr std::int64_t head_tasks(std::int64_t symbols) {
  return (symbols + kStepSymbols - 1) / kStepSymbols;
}
constexpr std::int64_t expert_parts(std::int64_t hidden_width) {
  return (hidden_width + kStepHidden - 1) / kStepHidden;
}

/// Panels of one expert's slots that one task works on: at most kExpertPanels, so that weights that
/// come from far serve several panels, and yet there are tasks for all threads.
inline constexpr int kExpertPanels = 6;
struct ExpertTask {
  std::int64_t expert, first, count;
};

/// What side losses read of a mixture's tokens, and the slopes that come back. B windows.
struct Balance {
  bool on = false;                                            // sums are wanted: the choices, and
  bool probabilities = false, squares = false, load = false;  // these
  std::int64_t time = 0;                                      // tokens of a window
  double* sums = nullptr;                                     // (B, kBalanceSums, E)
  double* log_squares = nullptr;                              // (B) logsumexp(logits)^2
  // Of the loss, by each sum; backward takes them `scale` times.
  double* probability_slope = nullptr;                        // (B, E)
  double *importance_slope = nullptr, *load_slope = nullptr;  // (E)
  double square_slope = 0, scale = 0;
};

/// out = x + sum over k of gate * dropout(expert(norm(x))), and its backward. `gate` is the
/// router's; an expert may have gates of its own (is_gated). A token has a slot for each of its K
/// choices, then one for each shared expert: M = K + S.
template <class T>
struct Mixture {
  std::int64_t tokens, width, experts, top_k;
  std::int64_t shared;        // S
  std::int64_t hidden_width;  // F
  std::int64_t up_width;      // U: F, or 2F with gates, which are the first half
  Gate gate;
  bool gate_norm;        // sigmoid: gates over their sum
  double gate_scale;     // sigmoid: then times this
  const T* choice_bias;  // (E) added to the scores for the choice alone; null: none
  Activation activation;
  TokenKeys keys;
  Dropout dropout;
  bool keeps;  // what backward reads

  Norm<T> norm;           // statistics (panels * kPanel)
  ShortConv<T> conv;      // of its normed rows; one part of the gradient a panel
  Linear<T> route;        // (E, C)
  Linear<T> noise;        // (E, C); weight null: none
  Linear<T> up, down;     // (E + S, U, C), (E + S, U) and (E + S, C, F), (E + S, C)
  bool gates_shared;      // the shared experts have a gate
  Linear<T> shared_gate;  // (1, C) then
  const T* x;             // (N, C)
  T* out;                 // (N, C)
  bool noisy;             // logits get noise: `draws` where given, else drawn by `normals`
  const T* draws;         // (N, E) standard normal, or null
  Normals normals;
  Jitter jitter;  // of the router's input
  // Where a token's experts are those of its symbol: (N), (V, K); null: the router chooses.
  const std::int64_t* symbols;
  const std::int32_t* hashed;
  T* normed;                  // (panels * kPanel, padded(C)), convolved if they are
  T* router_input;            // likewise, what the router sees of it: with jitter elsewhere
  T* logits;                  // (N, E) that the choice was made by
  T* noise_slope;             // (N, E) d logit / d noise_linear's outcome
  T* clean_logits;            // (N, E) before noise; null: not asked for
  T* noise_std;               // (N, E) of the noise, drawn or not; null: not asked for
  T* gates;                   // (N, M)
  std::int32_t* chosen;       // (N, M) experts; from E on the shared ones
  std::int32_t* slots;        // (slot_panels, kPanel) of a SlotTable
  std::int32_t* first_panel;  // (E + S + 1) likewise
  unsigned char* served;      // (N * M) 0 if a slot is beyond its expert's capacity; null: none is
  T* hidden;                  // (slot_panels, U, kPanel) what activation.h keeps; only where kept
  T* answers;                 // (N * M, padded(C)) after dropout, before the gate
  Balance balance;
  // Backward.
  const T* d_out;     // (N, C)
  T* d_x;             // (N, C)
  T* d_gates;         // (N, M)
  T* d_answers;       // (slot_panels, C, kPanel)
  T* d_hidden;        // (slot_panels, U, kPanel)
  T* hidden_turned;   // (slot_panels, blocks of F, kPanel tokens, kPanel)
  T* input_turned;    // (slot_panels, blocks of C, kPanel tokens, kPanel)
  T* d_inputs;        // (N * M, padded(C))
  T* d_convolved;     // (N, padded(C)) gradients of what the convolution yields
  T* d_token_logits;  // (N, E)
  T* d_logits;        // (panels, 2E, kPanel): clean, then noise_linear's outcome
  T* d_shared;        // (panels, kPanel) of the arguments of the shared experts' gates
  T* norm_parts;      // (panels, 2, padded(C))

  std::int64_t all_experts() const { return experts + shared; }
  std::int64_t token_slots() const { return top_k + shared; }
  bool serves(std::int64_t slot) const { return served == nullptr || served[slot] != 0; }
  /// (E) before noise; where there is noise they must have been asked for.
  const T* clean(std::int64_t token) const {
    return (noisy ? clean_logits : logits) + token * experts;
  }
};

/// Token panels and symbols that one block of the vocabulary stage takes: a block's logits stay in
/// the second cache, and the head's rows serve several panels.
inline constexpr std::int64_t kVocabularyPanels = 4, kVocabularyRows = 192;

/// logits = head(norm(x)), the cross-entropy of targets, and its backward, which goes through the
/// vocabulary chunk by chunk.
template <class T>
struct Vocabulary {
  std::int64_t tokens, width, symbols;
  Norm<T> norm;                 // statistics (panels * kPanel)
  Linear<T> head;               // (V, C)
  const T* x;                   // (N, C)
  T* logits;                    // (N, V), or null
  const std::int64_t* targets;  // (N), below 0 where none counts; or null
  std::int64_t counted;         // targets that count
  double* losses;               // (N) [nats], 0 where none counts
  T* normed;                    // (panels * kPanel, padded(C))
  T* largest;                   // (panels * kPanel) of a token's logits
  double* totals;               // (panels * kPanel) sums of e^(logit - largest)
  T* kept;                      // (panels, V, kPanel) logits for backward; null: computed again
  // Backward: of the mean loss times `d_loss`, plus `d_given` (N, V) if it is not null.
  double d_loss;
  const T* d_given;
  std::int64_t chunk, chunk_size;  // symbols from `chunk` on
  T* d_x;                          // (N, C)
  T* d_logits;                     // (panels, chunk_size, kPanel)
  T* d_normed;                     // (panels, C, kPanel) of the chunks so far
  T* norm_parts;                   // (panels, 2, padded(C))
};

}  // namespace moe::kernels::cpu
