#include "config/block_rules.h"

#include <algorithm>

#include "moe/base/text.h"

namespace moe {

namespace {

void check_heads(const ModelConfig& m, std::vector<std::string>& problems) {
  if (m.n_embed % m.n_head != 0)
    return problems.push_back(cat("model.n_head: ", m.n_head, " does not divide model.n_embed ",
                                  m.n_embed, "; change either"));
  if (m.positions == Positions::rotary && m.n_embed / m.n_head % 2 != 0)
    problems.push_back(cat("model.positions: rotary turns pairs of values, and model.n_embed ",
                           m.n_embed, " over model.n_head ", m.n_head, " is an odd ",
                           m.n_embed / m.n_head, "; change either"));
}

void check_short_conv(const ModelConfig& m, std::vector<std::string>& problems) {
  if (m.short_conv == 1)
    problems.push_back(
        "model.short_conv: 1 is a gain for each channel, which the norm before it has already; "
        "give "
        "2 or more, or 0");
  else if (m.short_conv > m.block_size)
    problems.push_back(cat("model.short_conv: ", m.short_conv,
                           " positions are more than model.block_size ", m.block_size,
                           "; lower it"));
}

void check_ngrams(const ModelConfig& m, std::vector<std::string>& problems) {
  const auto& orders = m.ngram.orders;
  for (auto order = orders.begin(); order != orders.end(); ++order) {
    if (*order > m.block_size)
      problems.push_back(cat("model.ngram.orders: ", *order,
                             " symbols are more than model.block_size ", m.block_size,
                             "; give shorter ones"));
    if (std::find(orders.begin(), order, *order) != order)
      problems.push_back(
          cat("model.ngram.orders: ", *order, " stands in the list twice; remove one"));
  }
}

}  // namespace

void check_block(const ModelConfig& model, std::vector<std::string>& problems) {
  check_heads(model, problems);
  check_short_conv(model, problems);
  check_ngrams(model, problems);
  if (model.value_residual && model.n_layer == 1)
    problems.push_back(
        "model.value_residual: there is no block behind the first; raise model.n_layer, or set it "
        "to "
        "false");
}

}  // namespace moe
