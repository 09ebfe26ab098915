#pragma once

#include "kernels/cpu/activation.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/norm.h"
#include "kernels/cpu/query_key.h"
#include "kernels/cpu/short_conv.h"
#include "kernels/cpu/value_residual.h"

namespace moe::kernels::cpu::MOE_LEVEL {

// Decoding: one new token of each of B sequences. With one sequence each weight is read once and
// used once, so that memory bounds the time; tasks are stretches of weight rows.

/// Scalar products of `rows` rows of a weight, `stride` apart, with x (width): done(m, value).
template <class T, class Done>
inline void multiply_vector(const T* weight, Index stride, Index rows, const T* x, Index width,
                            const Done& done) {
  constexpr int kTogether = 4;
  const auto some = [&](Index m, auto together) __attribute__((always_inline)) {
    constexpr int kRows = together();
    Vec<T> sums[kRows] = {};
    Index k = 0;
    for (; k + kLanes<T> <= width; k += kLanes<T>) {
      const Vec<T> value = load(x + k);
#pragma GCC unroll 4
      for (int i = 0; i < kRows; ++i) sums[i] += load(weight + (m + i) * stride + k) * value;
    }
    if (k < width) {
      const Vec<T> value = load_part(x + k, width - k);
      for (int i = 0; i < kRows; ++i)
        sums[i] += load_part(weight + (m + i) * stride + k, width - k) * value;
    }
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) done(m + i, sum_of<T>(sums[i]));
  };
  Index m = 0;
  for (; m + kTogether <= rows; m += kTogether) some(m, Constant<kTogether>{});
  for (; m < rows; ++m) some(m, Constant<1>{});
}

/// How many of `tokens` are in panel `p` of them.
inline Index tokens_in_panel(Index tokens, Index p) {
  return tokens - p * kPanel < kPanel ? tokens - p * kPanel : kPanel;
}

/// Rows x of tokens, `stride` apart, as panels (width, kPanel).
template <class T>
inline TokenPanels<T> tokens_to_panels(const T* x, Index stride, Index tokens, Index width, T* to) {
  const TokenPanels<T> panels{to, panels_of(tokens), width * kPanel};
  for (Index p = 0; p < panels.count; ++p)
    rows_to_panel<T>(
        tokens_in_panel(tokens, p), width, [&](Index i) { return x + (p * kPanel + i) * stride; },
        panels.at(p));
  return panels;
}

/// Rows [first, first + rows) of weight (out, width) times each of `tokens` rows of x, `stride`
/// apart: done(token, m, value). scratch: (panels of tokens, width, kPanel).
template <class T, class Done>
inline void multiply_tokens(const T* weight, Index width, Index first, Index rows, const T* x,
                            Index stride, Index tokens, T* scratch, const Done& done) {
  if (tokens <= kFewTokens) {
    for (Index n = 0; n < tokens; ++n)
      multiply_vector(weight + first * width, width, rows, x + n * stride, width,
                      [&](Index m, T value) { done(n, first + m, value); });
    return;
  }
  const auto panels = tokens_to_panels(x, stride, tokens, width, scratch);
  multiply<Left::row_major>(
      rows, Factor<T>{weight + first * width, width}, Factor<T>{panels.data, kPanel}, Inner{width},
      {panels.count, panels.stride}, [&](Index m, Index p, const Row<T>& row) {
        T values[kPanel];
        store_row(values, row);
        for (Index i = 0; i < kPanel && p * kPanel + i < tokens; ++i)
          done(p * kPanel + i, first + m, values[i]);
      });
}

template <class T>
Index step_scratch(const AttentionStep<T>& step) {
  const Index panels = panels_of(step.sequences) * step.width * kPanel;
  return panels > step.cache.capacity ? panels : step.cache.capacity;
}

template <class T>
void step_normalise(const AttentionStep<T>& step) {
  const Index c = step.width;
  for (Index n = 0; n < step.sequences; ++n) {
    T* to = step.normed + n * padded(c);
    T* row = convolves(step.conv) ? conv_row(step.conv, n, c) : to;
    normalise(step.norm, n, step.x + n * c, c, row);
    if (convolves(step.conv)) convolve_row(step.conv, n, c, to);
  }
}

/// Query, key and value: kStepRows rows of the weight.
template <class T>
void step_project(const AttentionStep<T>& step, Index task, T* scratch) {
  const Index c = step.width, first = task * kStepRows, left = 3 * c - first;
  multiply_tokens(step.qkv.weight, c, first, left < kStepRows ? left : kStepRows, step.normed,
                  padded(c), step.sequences, scratch,
                  [&](Index n, Index m, T value) { step.qkv_values[n * 3 * c + m] = value; });
}

/// What the heads of one sequence answer; its key and value join the cache. scratch: (capacity).
template <class T>
void step_attend(const AttentionStep<T>& step, Index n, T* scratch) {
  const Index c = step.width, d = c / step.heads, capacity = step.cache.capacity;
  const Index seen = step.filled;
  T *query = step.qkv_values + n * 3 * c, *key = query + c, *value = key + c;
  mix_values(step.value_residual, n * c, c, value);
  const auto& stage = step.query_key;
  for (Index h = 0; h < step.heads; ++h) {
    query_key_of_token(stage, stage.query_gain, d, query + h * d);
    query_key_of_token(stage, stage.key_gain, d, key + h * d);
  }
  T* keys = step.cache.keys + n * c * capacity;
  T* values = step.cache.values + n * capacity * c;
  for (Index i = 0; i < c; ++i) {
    keys[i * capacity + step.place] = key[i];
    values[step.place * c + i] = value[i];
  }
  const T scale = static_cast<T>(step.score_scale);
  for (Index h = 0; h < step.heads; ++h) {
    T most = -static_cast<T>(__builtin_inff()), total = 0;
    for (Index s = 0; s < seen; s += kLanes<T>) {
      Vec<T> scores{};
      for (Index i = h * d; i < (h + 1) * d; ++i)
        scores += query[i] * load(keys + i * capacity + s);
      store(scratch + s, scores * scale);
    }
    for (Index s = 0; s < seen; ++s) most = scratch[s] > most ? scratch[s] : most;
    for (Index s = 0; s < seen; s += kLanes<T>)
      store(scratch + s, exponential(load(scratch + s) - most));
    for (Index s = 0; s < seen; ++s) total += scratch[s];
    T* mixed = step.mixed + n * padded(c) + h * d;
    for (Index i = 0; i < d; i += kLanes<T>) {
      Vec<T> sum{};
      for (Index s = 0; s < seen; ++s)
        sum += scratch[s] * load_part(values + s * c + h * d + i, d - i);
      store_part(mixed + i, sum * (T{1} / total), d - i);
    }
  }
}

/// out: kStepRows rows of the projection, and the residual.
template <class T>
void step_output(const AttentionStep<T>& step, Index task, T* scratch) {
  const Index c = step.width, first = task * kStepRows, left = c - first;
  multiply_tokens(step.proj.weight, c, first, left < kStepRows ? left : kStepRows, step.mixed,
                  padded(c), step.sequences, scratch, [&](Index n, Index m, T value) {
                    step.out[n * c + m] = step.x[n * c + m] + (value + bias_at(step.proj.bias, m));
                  });
}

/// Panels of the tokens, and of the logits of a task.
template <class T>
Index head_step_scratch(const Vocabulary<T>& layer) {
  return panels_of(layer.tokens) * (layer.width + kStepSymbols) * kPanel;
}

template <class T>
void head_step_normalise(const Vocabulary<T>& layer) {
  const Index c = layer.width;
  for (Index n = 0; n < layer.tokens; ++n)
    normalise(layer.norm, n, layer.x + n * c, c, layer.normed + n * padded(c));
}

/// The logits of kStepSymbols symbols.
template <class T>
void head_step(const Vocabulary<T>& layer, Index task, T* scratch) {
  const Index c = layer.width, all = layer.symbols, tokens = layer.tokens;
  const Index first = task * kStepSymbols, left = all - first;
  const Index rows = left < kStepSymbols ? left : kStepSymbols;
  const T* weight = layer.head.weight + first * c;
  const T* bias = layer.head.bias == nullptr ? nullptr : layer.head.bias + first;
  T* to = layer.logits + first;
  if (tokens <= kFewTokens) {
    for (Index n = 0; n < tokens; ++n)
      multiply_vector(weight, c, rows, layer.normed + n * padded(c), c,
                      [&](Index m, T value) { to[n * all + m] = value + bias_at(bias, m); });
    return;
  }
  const auto x = tokens_to_panels(layer.normed, padded(c), tokens, c, scratch);
  const TokenPanels<T> logits{scratch + x.count * x.stride, x.count, kStepSymbols * kPanel};
  apply_linear<T>(weight, bias, rows, c, x, logits);
  for (Index p = 0; p < x.count; ++p)
    panel_to_rows<T>(logits.at(p), tokens_in_panel(tokens, p), rows,
                     [&](Index i) { return to + (p * kPanel + i) * all; });
}

/// What kStepHidden hidden values of a slot's expert contribute to its answer: parts[slot][part],
/// (C). Routed tokens; their number is kFewTokens at most.
template <class T>
void expert_part(const Mixture<T>& layer, Index task, T* parts) {
  const Index c = layer.width, f = layer.hidden_width, count = expert_parts(f);
  const Index slot = task / count, first = task % count * kStepHidden, left = f - first;
  const Index rows = left < kStepHidden ? left : kStepHidden;
  const Index expert = layer.chosen[slot];
  const T* x = layer.normed + slot / layer.token_slots() * padded(c);
  T hidden[kStepHidden] = {}, beside[kStepHidden] = {};
  const auto linear = [&](Index from, T* to) {
    const Index row = expert * layer.up_width + from;
    multiply_vector(layer.up.weight + row * c, c, rows, x, c,
                    [&](Index m, T value) { to[m] = value + bias_at(layer.up.bias, row + m); });
  };
  linear(first, hidden);
  if (is_gated(layer.activation)) linear(f + first, beside);
  activate<T>(layer.activation, hidden, beside, kStepHidden, hidden);
  T* out = parts + task * c;
  multiply_vector(layer.down.weight + expert * f * c + first, f, c, hidden, rows,
                  [&](Index m, T value) { out[m] = value; });
}

/// out = x + gated answers from the parts of expert_part, in order.
template <class T>
void combine_parts(const Mixture<T>& layer, const T* parts) {
  const Index c = layer.width, m = layer.token_slots();
  const Index count = expert_parts(layer.hidden_width);
  for (Index n = 0; n < layer.tokens; ++n)
    for (Index i = 0; i < c; ++i) {
      T sum = layer.x[n * c + i];
      for (Index slot = n * m; slot < (n + 1) * m; ++slot) {
        T answer = 0;
        for (Index part = 0; part < count; ++part) answer += parts[(slot * count + part) * c + i];
        answer += bias_at(layer.down.bias, layer.chosen[slot] * c + i);
        sum += layer.gates[slot] * answer;
      }
      layer.out[n * c + i] = sum;
    }
}

}  // namespace moe::kernels::cpu::MOE_LEVEL
