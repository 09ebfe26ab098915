#include <algorithm>

#include "kernels/layer_memory.h"
#include "kernels/skip_tape.h"
#include "moe/kernels/skips.h"

namespace moe::kernels {

namespace {

/// The id `back` places before place t of sequence b.
class History {
 public:
  History(const at::Tensor& ids, const at::Tensor& before, const NgramTables& ngrams)
      : ids_(ids.const_data_ptr<std::int64_t>()),
        before_(before.defined() ? before.const_data_ptr<std::int64_t>() : nullptr),
        time_(ids.size(1)),
        reach_(ngrams.reach),
        outside_(ngrams.symbols) {}

  std::int64_t id(std::int64_t sequence, std::int64_t t, std::int64_t back) const {
    if (back <= t) return ids_[sequence * time_ + t - back];
    return before_ == nullptr ? outside_ : before_[sequence * reach_ + reach_ + t - back];
  }

 private:
  const std::int64_t *ids_, *before_;
  std::int64_t time_, reach_, outside_;
};

/// The row of each of N tokens in a table, or -1.
void find_rows(const NgramTable& table, const History& history, std::int64_t symbols,
               at::IntArrayRef shape, std::int64_t* to) {
  const auto* begin = table.runs.const_data_ptr<std::int64_t>();
  const auto* end = begin + table.runs.numel();
  for (std::int64_t sequence = 0; sequence < shape[0]; ++sequence)
    for (std::int64_t t = 0; t < shape[1]; ++t) {
      std::int64_t number = 0;
      for (auto back = table.order - 1; back >= 0; --back)
        number = number * (symbols + 1) + history.id(sequence, t, back);
      const auto* found = std::lower_bound(begin, end, number);
      *to++ = found != end && *found == number ? found - begin : -1;
    }
}

/// Calls use(row of a table, token) for each row that a token has in it, in the tokens' order.
template <class Use>
void for_each_row(const SkipTape& tape, std::size_t table, const Use& use) {
  const auto tokens = tape.chosen.size(1);
  const auto* chosen =
      tape.chosen.const_data_ptr<std::int64_t>() + static_cast<std::int64_t>(table) * tokens;
  for (std::int64_t n = 0; n < tokens; ++n)
    if (chosen[n] >= 0) use(chosen[n], n);
}

/// values (N, C) times the factors of dropout.
template <class T>
void drop_values(SkipTape& tape, std::int64_t tokens, std::int64_t width, T* values) {
  if (!tape.drop.on) return;
  run_with_scratch<T>(cpu::panels_of(tokens), tape.memory, width * cpu::kPanel,
                      [&](std::int64_t panel, T* scratch) {
                        const auto first = panel * cpu::kPanel;
                        const auto count = std::min<std::int64_t>(cpu::kPanel, tokens - first);
                        cpu::table<T>().drop_rows(tape.drop, token_keys(tape.rows), first, count,
                                                  width, values + first * width, scratch);
                      });
}

template <class T>
void sum_rows(SkipTape& tape, at::Tensor& out) {
  const auto c = out.size(2), tokens = out.numel() / c;
  auto* to = out.mutable_data_ptr<T>();
  std::fill_n(to, tokens * c, T{0});
  for (std::size_t i = 0; i < tape.tables.size(); ++i) {
    const auto* weight = tape.tables[i].weight.template const_data_ptr<T>();
    for_each_row(tape, i, [&](std::int64_t row, std::int64_t n) {
      for (std::int64_t j = 0; j < c; ++j) to[n * c + j] += weight[row * c + j];
    });
  }
  drop_values(tape, tokens, c, to);
}

/// The tables' gradients from that of the sums, added in the tokens' order.
template <class T>
void sum_rows_backward(SkipTape& tape) {
  const auto c = tape.d_ngrams.size(2), tokens = tape.d_ngrams.numel() / c;
  auto* from = tape.d_ngrams.template mutable_data_ptr<T>();
  drop_values(tape, tokens, c, from);
  for (std::size_t i = 0; i < tape.tables.size(); ++i) {
    const auto& weight = tape.tables[i].weight;
    const auto slot = gradient_slot<T>(weight, tape.gradients);
    if (slot.to == nullptr) continue;
    if (!slot.adds) std::fill_n(slot.to, weight.numel(), T{0});
    for_each_row(tape, i, [&](std::int64_t row, std::int64_t n) {
      for (std::int64_t j = 0; j < c; ++j) slot.to[row * c + j] += from[n * c + j];
    });
  }
}

template <class T>
class EntryCall : public LayerCall {
 public:
  EntryCall(SkipWeights weights, SkipSources sources, const LayerRun& run)
      : weights_(std::move(weights)),
        sources_(std::move(sources)),
        gradients_(run.gradients),
        memory_(run.workspace, c10::CppTypeToScalarType<T>::value) {}

  Tensors forward(const at::Tensor& x) override {
    x_ = x.contiguous();
    auto out = memory_.result(x.sizes());
    skip_.width = x.size(2);
    skip_.tokens = x.numel() / skip_.width;
    skip_.resid = number(weights_.resid, 1);
    skip_.stream_weight = number(weights_.stream, 0);
    skip_.ngram_weight = number(weights_.ngrams, 0);
    skip_.x = x_.template const_data_ptr<T>();
    skip_.stream = values_or_null<T>(sources_.stream);
    skip_.ngrams = values_or_null<T>(sources_.ngrams);
    skip_.out = out.template mutable_data_ptr<T>();
    cpu::run_tasks(cpu::panels_of(skip_.tokens), at::get_num_threads(),
                   [&](std::int64_t p, int) { cpu::table<T>().skip_forward(skip_, p); });
    return {out};
  }

  at::Tensor backward(const Tensors& d_outputs) override {
    memory_.require_kept();
    auto& tape = *sources_.tape;
    auto d_x = memory_.result(x_.sizes());
    skip_.d_out = d_outputs[0].template const_data_ptr<T>();
    skip_.d_x = d_x.template mutable_data_ptr<T>();
    skip_.begins = !tape.d_stream.defined() && !tape.d_ngrams.defined();
    skip_.ends = weights_.is_first;
    skip_.d_stream = sum_of_gradients(sources_.stream, tape.d_stream);
    skip_.d_ngrams = sum_of_gradients(sources_.ngrams, tape.d_ngrams);
    const auto begin = memory_.position();
    const auto panels = cpu::panels_of(skip_.tokens);
    skip_.parts = memory_.template values<double>(panels * 3);
    cpu::run_tasks(panels, at::get_num_threads(),
                   [&](std::int64_t p, int) { cpu::table<T>().skip_backward(skip_, p); });
    add_parts(weights_.resid, 0, panels);
    add_parts(weights_.stream, 1, panels);
    add_parts(weights_.ngrams, 2, panels);
    if (skip_.ends && sources_.ngrams.defined()) sum_rows_backward<T>(tape);
    memory_.rewind(begin);
    return d_x;
  }

 private:
  static T number(const at::Tensor& weight, T otherwise) {
    return weight.defined() ? *weight.template const_data_ptr<T>() : otherwise;
  }

  /// The first block that backward comes to makes it.
  T* sum_of_gradients(const at::Tensor& source, at::Tensor& sum) {
    if (!source.defined()) return nullptr;
    if (!sum.defined()) sum = memory_.result(source.sizes());
    return sum.template mutable_data_ptr<T>();
  }

  void add_parts(const at::Tensor& weight, std::int64_t which, std::int64_t panels) {
    const auto slot = gradient_slot<T>(weight, gradients_);
    if (slot.to == nullptr) return;
    double total = 0;
    for (std::int64_t p = 0; p < panels; ++p) total += skip_.parts[p * 3 + which];
    *slot.to = static_cast<T>(total) + (slot.adds ? *slot.to : T{0});
  }

  SkipWeights weights_;
  SkipSources sources_;
  GradientLedger* gradients_;
  Memory memory_;
  at::Tensor x_;
  cpu::Skip<T> skip_{};
};

}  // namespace

SkipSources make_skips(const at::Tensor& x, bool reads_stream, const NgramTables& ngrams,
                       const at::Tensor& ids, const at::Tensor& before, const DropoutDraws& dropout,
                       const LayerRun& run) {
  SkipSources out;
  out.tape = std::make_shared<SkipTape>(ngrams, dropout, run, x.scalar_type());
  if (reads_stream) out.stream = x.detach();
  if (ngrams.tables.empty()) return out;
  auto& tape = *out.tape;
  out.ngrams = tape.memory.result(x.sizes());
  const auto count = static_cast<std::int64_t>(ngrams.tables.size());
  tape.chosen = tape.memory.result({count, ids.numel()}, at::kLong);
  const auto symbols = ids.contiguous();
  const History history(symbols, before, ngrams);
  for (std::int64_t i = 0; i < count; ++i)
    find_rows(ngrams.tables[static_cast<std::size_t>(i)], history, ngrams.symbols, ids.sizes(),
              tape.chosen.mutable_data_ptr<std::int64_t>() + i * ids.numel());
  if (x.scalar_type() == at::kDouble)
    sum_rows<double>(tape, out.ngrams);
  else
    sum_rows<float>(tape, out.ngrams);
  return out;
}

at::Tensor enter_block(const at::Tensor& x, const SkipWeights& weights, const SkipSources& sources,
                       const LayerRun& run) {
  auto source = gradient_source({x, weights.resid, weights.stream, weights.ngrams});
  if (!source.defined() && sources.ngrams.defined())
    for (const auto& table : sources.tape->tables)
      if (!source.defined()) source = gradient_source({table.weight});
  const auto call = make_call<EntryCall>(x.scalar_type(), weights, sources, run);
  return run_layer(x, source, call)[0];
}

void keep_apart(SkipSources& skips) {
  const auto copy = [](at::Tensor& tensor) {
    if (tensor.defined()) tensor = tensor.clone();
  };
  copy(skips.stream);
  copy(skips.ngrams);
  copy(skips.values);
  if (skips.tape != nullptr) copy(skips.tape->values);
}

void count_skips(const ModelSpec& spec, const PassShape& pass, Memory& memory) {
  if (spec.ngrams.empty()) return;
  memory.values<float>(pass.tokens() * pass.width);
  memory.values<std::int64_t>(static_cast<std::int64_t>(spec.ngrams.size()) * pass.tokens());
  if (spec.dropout.ngrams > 0) count_scratch<float>(memory, pass.width * cpu::kPanel);
}

void count_entry(const ModelSpec& spec, const PassShape& pass, std::int64_t layer,
                 Direction direction, Memory& memory) {
  if (!spec.reads_skips()) return;
  const auto values = pass.tokens() * pass.width;
  memory.values<float>(values);  // the result
  if (direction == Direction::forward) return;
  if (layer + 1 == static_cast<std::int64_t>(spec.layers.size())) {  // the sums begin
    if (spec.x0_shortcut) memory.values<float>(values);
    if (!spec.ngrams.empty()) memory.values<float>(values);
  }
  const auto begin = memory.position();
  memory.values<double>(cpu::panels_of(pass.tokens()) * 3);
  if (layer == 0 && spec.dropout.ngrams > 0) count_scratch<float>(memory, pass.width * cpu::kPanel);
  memory.rewind(begin);
}

}  // namespace moe::kernels
