#include <algorithm>

#include "kernels/layer_call.h"
#include "kernels/layer_memory.h"

namespace moe::kernels {

namespace {

/// Values of one chunk's logits, at most, or one block's: 4 MB of floats stay in the cache between
/// their making and their use. A quarter of it and four times it were up to 6 % slower at 50,000
/// symbols (bench/kernels.cpp, two cores with AVX-512).
constexpr std::int64_t kChunkValues = std::int64_t{1} << 20;

/// Symbols whose logits are held at once, of N tokens.
std::int64_t chunk_size_of(std::int64_t tokens, std::int64_t symbols) {
  const auto blocks = kChunkValues / std::max<std::int64_t>(1, tokens) / cpu::kVocabularyRows;
  return std::min(symbols, std::max<std::int64_t>(1, blocks) * cpu::kVocabularyRows);
}

/// The memory that forward takes and, if it keeps, leaves to backward.
template <class T>
void lay_out_forward(cpu::Vocabulary<T>& layer, bool keeps, Memory& memory) {
  const auto rows = cpu::panels_of(layer.tokens) * cpu::kPanel;
  lay_out_statistics(layer.norm, rows, memory);
  layer.normed = memory.values<T>(rows * cpu::padded(layer.width));
  layer.losses = memory.values<double>(layer.tokens);
  layer.largest = memory.values<T>(rows);
  layer.totals = memory.values<double>(rows);
  layer.chunk_size = chunk_size_of(layer.tokens, layer.symbols);
  if (keeps && layer.chunk_size == layer.symbols)
    layer.kept = memory.values<T>(rows * layer.symbols);
}

template <class T>
void lay_out_backward(cpu::Vocabulary<T>& layer, Memory& memory) {
  const auto panels = cpu::panels_of(layer.tokens);
  layer.d_normed = memory.values<T>(panels * layer.width * cpu::kPanel);
  layer.norm_parts = memory.values<T>(panels * 2 * cpu::padded(layer.width));
  layer.d_logits = memory.values<T>(panels * layer.chunk_size * cpu::kPanel);
}

template <class T>
class VocabularyCall : public LayerCall {
 public:
  VocabularyCall(NormParameters norm, LinearParameters head, at::Tensor targets, bool wants_logits,
                 const LayerRun& run, bool keeps)
      : norm_(std::move(norm)),
        head_(std::move(head)),
        targets_(std::move(targets)),
        memory_(run.workspace, c10::CppTypeToScalarType<T>::value),
        table_(table_of<T>(run)),
        wants_logits_(wants_logits),
        keeps_(keeps),
        gradients_(run.gradients) {}

  /// The loss, if there are targets; the logits, if they are wanted.
  Tensors forward(const at::Tensor& x) override {
    x_ = x.contiguous();
    layer_.width = x.size(-1);
    layer_.tokens = x.numel() / layer_.width;
    layer_.symbols = head_.weight.size(0);
    Tensors outputs;
    if (targets_.defined()) outputs.push_back(memory_.result({}));
    if (wants_logits_) outputs.push_back(memory_.result({layer_.tokens, layer_.symbols}));
    const auto begin = memory_.position();
    layer_.x = x_.template const_data_ptr<T>();
    if (wants_logits_) layer_.logits = outputs.back().template mutable_data_ptr<T>();
    if (targets_.defined()) {
      layer_.targets = targets_.const_data_ptr<std::int64_t>();
      layer_.counted = std::count_if(layer_.targets, layer_.targets + layer_.tokens,
                                     [](std::int64_t target) { return target >= 0; });
    }
    layer_.head = linear_arguments<T>(head_);
    layer_.norm = norm_arguments<T>(norm_);
    lay_out_forward(layer_, keeps_, memory_);
    if (is_step())
      take_step();
    else
      run_with_scratch<T>(
          groups(), memory_, table_.vocabulary_scratch(layer_),
          [&](std::int64_t g, T* room) { table_.vocabulary_forward(layer_, g, room); });
    if (targets_.defined()) *outputs[0].template mutable_data_ptr<T>() = mean_loss();
    if (!keeps_) memory_.rewind(begin);
    return outputs;
  }

  std::size_t differentiable() const override {
    return (targets_.defined() ? 1U : 0U) + (wants_logits_ ? 1U : 0U);
  }

  at::Tensor backward(const Tensors& d_outputs) override {
    memory_.require_kept();
    auto d_x = memory_.result(x_.sizes());
    const auto begin = memory_.position();
    const bool has_loss = targets_.defined() && d_outputs[0].defined();
    layer_.d_loss = has_loss ? d_outputs[0].item<double>() : 0;
    layer_.d_given = nullptr;
    if (wants_logits_ && d_outputs.back().defined())
      layer_.d_given = d_outputs.back().template const_data_ptr<T>();
    layer_.d_x = d_x.template mutable_data_ptr<T>();
    lay_out_backward(layer_, memory_);
    point_at_gradients(layer_.norm, norm_, gradients_);
    point_at_gradients(layer_.head, head_, gradients_);
    for (layer_.chunk = 0; layer_.chunk < layer_.symbols; layer_.chunk += layer_.chunk_size)
      go_through_chunk();
    memory_.rewind(begin);
    return d_x;
  }

 private:
  std::int64_t groups() const {
    const auto panels = cpu::panels_of(layer_.tokens);
    return (panels + cpu::kVocabularyPanels - 1) / cpu::kVocabularyPanels;
  }

  /// Whether logits of a few tokens are all that is wanted, as in decoding. They are one group, so
  /// that threads share the symbols instead.
  bool is_step() const { return !targets_.defined() && !keeps_ && groups() == 1; }

  void take_step() {
    table_.head_step_normalise(layer_);
    run_with_scratch<T>(cpu::head_tasks(layer_.symbols), memory_, table_.head_step_scratch(layer_),
                        [&](std::int64_t t, T* room) { table_.head_step(layer_, t, room); });
  }

  void go_through_chunk() {
    run_with_scratch<T>(
        groups(), memory_, table_.vocabulary_scratch(layer_),
        [&](std::int64_t g, T* room) { table_.vocabulary_backward(layer_, g, room); });
    cpu::run_tasks(table_.vocabulary_gradient_tasks(layer_), at::get_num_threads(),
                   [&](std::int64_t t, int) { table_.vocabulary_gradients(layer_, t); });
  }

  T mean_loss() const {
    double sum = 0;
    for (std::int64_t n = 0; n < layer_.tokens; ++n) sum += layer_.losses[n];
    return static_cast<T>(sum / static_cast<double>(layer_.counted));
  }

  NormParameters norm_;
  LinearParameters head_;
  at::Tensor targets_, x_;
  Memory memory_;
  const cpu::Table<T>& table_;
  bool wants_logits_, keeps_;
  GradientLedger* gradients_;
  cpu::Vocabulary<T> layer_{};
};

}  // namespace

VocabularyResult vocabulary_layer(const at::Tensor& x, const NormParameters& norm,
                                  const LinearParameters& head, const at::Tensor& targets,
                                  bool wants_logits, const LayerRun& run) {
  TORCH_CHECK(targets.defined() || wants_logits, "neither loss nor logits are wanted");
  const auto source = gradient_source({x, norm.weight, norm.bias, head.weight, head.bias});
  const auto wanted = targets.defined() ? targets.contiguous() : targets;
  const auto call = make_call<VocabularyCall>(x.scalar_type(), norm, head, wanted, wants_logits,
                                              run, source.defined());
  const auto outputs = run_layer(x, source, call);
  VocabularyResult result;
  if (targets.defined()) result.loss = outputs.front();
  if (wants_logits) result.logits = outputs.back();
  return result;
}

void count_vocabulary(const PassShape& pass, std::int64_t symbols, Direction direction,
                      Memory& memory) {
  cpu::Vocabulary<float> layer{};
  layer.tokens = pass.tokens();
  layer.width = pass.width;
  layer.symbols = symbols;
  layer.chunk_size = chunk_size_of(layer.tokens, symbols);
  memory.values<float>(direction == Direction::forward ? 1 : pass.tokens() * pass.width);
  const auto begin = memory.position();
  if (direction == Direction::forward)
    lay_out_forward(layer, pass.keeps, memory);
  else
    lay_out_backward(layer, memory);
  count_scratch<float>(memory, cpu::table<float>().vocabulary_scratch(layer));
  if (direction == Direction::backward || !pass.keeps) memory.rewind(begin);
}

}  // namespace moe::kernels
