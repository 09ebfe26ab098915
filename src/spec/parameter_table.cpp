#include "moe/spec/parameter_table.h"

#include <unordered_map>
#include <utility>

#include "moe/base/error.h"
#include "moe/base/text.h"

namespace moe {

namespace {

using Shape = std::vector<std::int64_t>;

/// Adds a * b to total, or throws if that leaves the range of an int64.
void add_product(std::int64_t& total, std::int64_t a, std::int64_t b) {
  std::int64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product) || __builtin_add_overflow(total, product, &total))
    throw ConfigError(
        "model: the parameter count overflows 64 bits; lower model.n_embed, model.n_layer or "
        "model.moe.num_experts");
}

std::int64_t numel_of(const Shape& shape) {
  std::int64_t count = 1;
  for (const auto size : shape) {
    std::int64_t product = 0;
    add_product(product, count, size);
    count = product;
  }
  return count;
}

/// Half of each, as the paper and modded-nanogpt begin.
constexpr double kValueStart = 0.5;

/// The Linears of a router, if there is one.
std::vector<const char*> routers_of(const FeedForwardSpec& spec) {
  if (!spec.has_router()) return {};
  if (spec.router == RouterKind::noisy_topk) return {"topkroute_linear", "noise_linear"};
  return {"linear"};
}

/// The rows of one model, one after another.
class RowWriter {
 public:
  explicit RowWriter(const ModelSpec& spec) : spec_(spec), c_(spec.width) {}

  std::vector<ParameterRow> write() {
    token_table();
    // Beside a tied table, whose values are those of a Linear, draws of deviation 1 would drown it.
    if (spec_.position_table)
      add({"position_embedding_table.weight",
           {spec_.context, c_},
           {},
           Role::position_table,
           ParameterGroup::embedding,
           spec_.tied ? c_ : 0});
    for (const auto& keys : spec_.ngrams)
      add({cat("ngram.", keys.order, ".weight"),
           {keys.rows(), c_},
           {},
           Role::ngram_table,
           ParameterGroup::table});
    for (std::size_t layer = 0; layer < spec_.layers.size(); ++layer) {
      const auto at = cat("blocks.", layer, ".");
      attention(at + "sa.", spec_.layers[layer].attention);
      mixture(at + "smoe.", spec_.layers[layer].feed_forward);
      norm(at + "ln1");
      norm(at + "ln2");
      convolution(at + "sa_conv", spec_.layers[layer].attention.short_conv);
      convolution(at + "smoe_conv", spec_.layers[layer].feed_forward.short_conv);
      skips(at);
    }
    norm("ln_f");
    const auto head = ParameterGroup::head;
    if (!spec_.tied) add({"lm_head.weight", {spec_.vocab, c_}, {}, Role::linear_weight, head, c_});
    if (spec_.bias) add({"lm_head.bias", {spec_.vocab}, {}, Role::linear_bias, head, c_});
    for (std::size_t layer = 0; layer < spec_.layers.size(); ++layer)
      balance_bias(cat("blocks.", layer, ".smoe."), spec_.layers[layer].feed_forward);
    return std::move(rows_);
  }

 private:
  void add(ParameterRow row) {
    if (row.piece_shape.empty()) row.piece_shape = row.shape;
    rows_.push_back(std::move(row));
  }

  /// If it is the last Linear's weight too, it is drawn and counted as that.
  void token_table() {
    const auto* name = "token_embedding_table.weight";
    const auto group = ParameterGroup::embedding;
    if (!spec_.tied) return add({name, {spec_.vocab, c_}, {}, Role::token_table, group});
    ParameterRow row{name, {spec_.vocab, c_}, {}, Role::linear_weight, group, c_};
    row.second_name = "lm_head.weight";
    add(std::move(row));
  }

  void linear(const std::string& name, ParameterGroup group, std::int64_t out, std::int64_t in,
              bool bias, bool is_residual = false) {
    add({name + ".weight", {out, in}, {}, Role::linear_weight, group, in, is_residual});
    if (bias) add({name + ".bias", {out}, {}, Role::linear_bias, group, in, is_residual});
  }

  void norm(const std::string& name) {
    const auto group = ParameterGroup::norm;
    add({name + ".weight", {c_}, {}, Role::norm_weight, group});
    if (spec_.norm.bias) add({name + ".bias", {c_}, {}, Role::norm_bias, group});
  }

  /// Role and group together keep it from Muon: its rows are no directions of a matrix.
  void convolution(const std::string& name, std::int64_t taps) {
    if (taps > 0) add({name + ".weight", {c_, taps}, {}, Role::short_conv, ParameterGroup::matrix});
  }

  /// Query, key, value of all heads in one; a piece is one head's.
  void attention(const std::string& at, const AttentionSpec& spec) {
    const auto inner = spec.heads * spec.head_width;
    const auto group = ParameterGroup::matrix;
    add({at + "qkv", {3, inner, c_}, {spec.head_width, c_}, Role::linear_weight, group, c_});
    linear(at + "proj", group, c_, inner, spec.bias, /*is_residual=*/true);
    if (spec.mixes_values) gain(at + "value_lambda", 1, kValueStart);
    if (spec.qk_norm == QkNorm::none) return;
    gain(at + "q_norm", spec.head_width, spec.qk_gain);
    gain(at + "k_norm", spec.head_width, 1);
  }

  void gain(const std::string& name, std::int64_t width, double start) {
    ParameterRow row{name + ".weight", {width}, {}, Role::norm_weight, ParameterGroup::norm};
    row.start = start;
    add(std::move(row));
  }

  /// What a block weighs the stream, its beginning and the n-gram tables' rows by.
  void skips(const std::string& at) {
    constexpr double kNgramStart = 0.1;  // modded-nanogpt's
    if (spec_.x0_shortcut) {
      gain(at + "resid_lambda", 1, 1);
      gain(at + "x0_lambda", 1, 0);
    }
    if (!spec_.ngrams.empty()) gain(at + "ngram_lambda", 1, kNgramStart);
  }

  void mixture(const std::string& at, const FeedForwardSpec& spec) {
    const auto e = spec.all_experts(), f = spec.width;
    const Shape one{e}, two{e, 2};  // pieces: an expert's, or its gate's and its up's
    const auto& up = is_gated(spec.activation) ? two : one;
    const auto stack = [&](const char* name, Shape shape, const Shape& piece, Role role,
                           std::int64_t fan_in, bool is_residual = false) {
      shape.insert(shape.end(), piece.begin(), piece.end());
      add({at + name, shape, piece, role, ParameterGroup::expert, fan_in, is_residual, e,
           spec.token_slots()});
    };
    stack("w1", up, {f, c_}, Role::linear_weight, c_);
    if (spec.bias) stack("b1", up, {f}, Role::linear_bias, c_);
    stack("w2", one, {c_, f}, Role::linear_weight, f, /*is_residual=*/true);
    if (spec.bias) stack("b2", one, {c_}, Role::linear_bias, f, /*is_residual=*/true);
    for (const auto* router : routers_of(spec))
      linear(cat(at, "router.", router), ParameterGroup::router, spec.experts, c_, spec.bias);
    if (spec.shared_gate) linear(at + "shared_gate", ParameterGroup::router, 1, c_, /*bias=*/false);
  }

  void balance_bias(const std::string& at, const FeedForwardSpec& spec) {
    if (spec.balance.has_bias())
      add({at + "router.balance_bias",
           {spec.experts},
           {},
           Role::balance_bias,
           ParameterGroup::router});
  }

  const ModelSpec& spec_;
  std::int64_t c_;
  std::vector<ParameterRow> rows_;
};

/// The pieces of rows in the order of the published state_dict.
class PieceWriter {
 public:
  explicit PieceWriter(const std::vector<ParameterRow>& rows) : rows_(rows) {
    for (std::size_t row = 0; row < rows.size(); ++row) index_[rows[row].name] = row;
  }

  std::vector<PublishedPiece> write(const std::vector<LayerSpec>& layers) {
    whole("token_embedding_table.weight");
    whole("position_embedding_table.weight");
    for (const auto& row : rows_)
      if (row.role == Role::ngram_table) whole(row.name);
    for (std::size_t layer = 0; layer < layers.size(); ++layer) {
      const auto at = cat("blocks.", layer, ".");
      attention(at + "sa.", layers[layer].attention.heads);
      mixture(at + "smoe.", layers[layer].feed_forward);
      linear(at + "ln1");
      linear(at + "ln2");
      whole(at + "sa_conv.weight");
      whole(at + "smoe_conv.weight");
      for (const auto* lambda : {"resid_lambda", "x0_lambda", "ngram_lambda"})
        whole(cat(at, lambda, ".weight"));
    }
    linear("ln_f");
    linear("lm_head");
    return std::move(pieces_);
  }

 private:
  /// None if the model lacks the row.
  void piece(std::string name, const std::string& row, std::int64_t piece) {
    if (const auto found = index_.find(row); found != index_.end())
      pieces_.push_back({std::move(name), found->second, piece});
  }
  void whole(const std::string& name) { piece(name, name, 0); }
  /// Also a norm: it has the same two.
  void linear(const std::string& name) {
    whole(name + ".weight");
    whole(name + ".bias");
  }

  void attention(const std::string& at, std::int64_t heads) {
    for (std::int64_t head = 0; head < heads; ++head) {
      const auto name = cat(at, "heads.", head, ".");
      piece(name + "key.weight", at + "qkv", heads + head);
      piece(name + "query.weight", at + "qkv", head);
      piece(name + "value.weight", at + "qkv", 2 * heads + head);
    }
    linear(at + "proj");
    whole(at + "value_lambda.weight");
    whole(at + "q_norm.weight");
    whole(at + "k_norm.weight");
  }

  void mixture(const std::string& at, const FeedForwardSpec& spec) {
    for (const auto* router : routers_of(spec)) linear(cat(at, "router.", router));
    whole(at + "router.balance_bias");
    whole(at + "shared_gate.weight");
    for (std::int64_t expert = 0; expert < spec.all_experts(); ++expert) {
      const auto net = expert < spec.experts ? cat(at, "experts.", expert, ".net.")
                                             : cat(at, "shared.", expert - spec.experts, ".net.");
      const auto linear_of = [&](const char* name, const char* number, std::int64_t i) {
        piece(cat(net, name, ".weight"), cat(at, "w", number), i);
        piece(cat(net, name, ".bias"), cat(at, "b", number), i);
      };
      if (is_gated(spec.activation)) {
        linear_of("gate", "1", 2 * expert);
        linear_of("up", "1", 2 * expert + 1);
        linear_of("down", "2", expert);
      } else {
        linear_of("0", "1", expert);
        linear_of("2", "2", expert);
      }
    }
  }

  const std::vector<ParameterRow>& rows_;
  std::unordered_map<std::string, std::size_t> index_;
  std::vector<PublishedPiece> pieces_;
};

/// Values of the row that one token reads.
std::int64_t active_numel(const ParameterRow& row) {
  switch (row.role) {
    case Role::token_table:
    case Role::position_table:
    case Role::ngram_table:
      return row.shape[1];
    default:
      return row.experts == 0 ? row.numel() : row.numel() / row.experts * row.chosen_experts;
  }
}

bool is_table(const ParameterRow& row) {
  return row.role == Role::token_table || row.role == Role::position_table ||
         row.role == Role::ngram_table;
}

/// The sum over trained rows of what `numel` says; throws ConfigError if it overflows.
template <class Numel>
std::int64_t sum_over(const std::vector<ParameterRow>& rows, const Numel& numel) {
  std::int64_t total = 0;
  for (const auto& row : rows)
    if (row.is_trained()) add_product(total, 1, numel(row));
  return total;
}

}  // namespace

std::int64_t ParameterRow::numel() const { return numel_of(shape); }
std::int64_t ParameterRow::piece_numel() const { return numel_of(piece_shape); }

ParameterTable::ParameterTable(const ModelSpec& spec)
    : rows_(RowWriter(spec).write()), layers_(spec.layers) {}

std::vector<PublishedPiece> ParameterTable::published() const {
  return PieceWriter(rows_).write(layers_);
}

std::int64_t ParameterTable::count() const {
  return sum_over(rows_, [](const ParameterRow& row) { return row.numel(); });
}

std::int64_t ParameterTable::count_untrained() const {
  std::int64_t total = 0;
  for (const auto& row : rows_) total += row.is_trained() ? 0 : row.numel();
  return total;
}

std::int64_t ParameterTable::count_active() const { return sum_over(rows_, active_numel); }

std::int64_t ParameterTable::count_multiplied() const {
  return sum_over(rows_,
                  [](const ParameterRow& row) { return is_table(row) ? 0 : active_numel(row); });
}

}  // namespace moe
