#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "moe/spec/model_spec.h"

namespace moe {

/// What a parameter is for. It decides how the parameter is drawn, counted and updated.
enum class Role {
  token_table,     // a row is looked up for each symbol
  position_table,  // likewise for each position
  ngram_table,     // likewise for each run of symbols that has one
  norm_weight,
  norm_bias,
  linear_weight,  // (..., out, in)
  linear_bias,    // (..., out)
  short_conv,     // (channel, lag)
  balance_bias,   // of a router's choice: moved by no gradient
};

/// Parameters that share a learning rate and a weight decay (optim.groups).
enum class ParameterGroup {
  embedding,  // the token and the position table, tied or not
  head,       // the last Linear
  router,     // the routers' Linears
  norm,       // weights and biases of norms, and other vectors
  matrix,     // attention's Linears, and short convolutions
  expert,     // the experts' Linears
  table,      // of n-grams
};

/// A tensor as the modules store it, and its pieces: the tensors of the published model, of one
/// shape, one after another in it.
struct ParameterRow {
  std::string name;                       // as registered: "blocks.0.smoe.w1"
  std::vector<std::int64_t> shape;        // (8, 512, 128)
  std::vector<std::int64_t> piece_shape;  // (512, 128); the shape itself if it is one piece
  Role role;
  ParameterGroup group;
  std::int64_t fan_in = 0;          // of a Linear's weight and bias, or of a table drawn as one
  bool is_residual = false;         // its outcome is added to the residual stream
  std::int64_t experts = 0;         // as many equal parts; 0: every token reads it
  std::int64_t chosen_experts = 0;  // that a token reads
  std::string second_name = {};     // under which the published model has the tensor too: tied
  double start = 1;                 // of a norm's weight, or of a gain

  std::int64_t numel() const;
  std::int64_t piece_numel() const;
  /// Whether it has a gradient and is what people call a parameter.
  bool is_trained() const { return role != Role::balance_bias; }
};

/// A tensor under its published name (docs/formats.md).
struct PublishedPiece {
  std::string name;  // "blocks.0.smoe.experts.3.net.0.weight"
  std::size_t row;   // of the table
  std::int64_t piece;
};

/// Every tensor of a model that is saved, once (docs/adr/0042). Registration, flat order,
/// initialisation, counts, checkpoints and export are visitors of these rows.
class ParameterTable {
 public:
  explicit ParameterTable(const ModelSpec& spec);

  /// In the order of the flat buffers: those that are not trained come last.
  const std::vector<ParameterRow>& rows() const { return rows_; }
  /// In the order of the published model's state_dict.
  std::vector<PublishedPiece> published() const;

  /// All parameters; throws ConfigError if the count overflows 64 bits.
  std::int64_t count() const;
  /// Values of the rows that are not trained.
  std::int64_t count_untrained() const;
  /// Those that one token's forward reads: rows of tables, chosen experts, everything else.
  std::int64_t count_active() const;
  /// Those that a token is multiplied by: without tables, with the chosen experts.
  std::int64_t count_multiplied() const;

 private:
  std::vector<ParameterRow> rows_;
  std::vector<LayerSpec> layers_;
};

}  // namespace moe
