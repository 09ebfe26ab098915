#pragma once

#include <cstdint>
#include <vector>

#include "moe/data/corpus.h"
#include "moe/eval/split_batches.h"
#include "moe/model/language_model.h"

namespace moe {

/// How alike the experts of one layer are that its router chooses from, and how much each of them
/// does; empty without a router. Shapes: E experts, C width.
struct ExpertLikeness {
  std::int64_t rank = 0;  // r, directions of each subspace: C / 8, at least 1
  /// (E, E) cosine of the router's rows: 1 where two experts are chosen by the same logits.
  std::vector<std::vector<double>> router_cosine;
  /// (E, E) |U_i' U_j|^2 / r in the Frobenius norm, where U (C, r) are the left singular vectors of
  /// an expert's down projection with the largest singular values: the share of the directions in
  /// which it writes most that another has too. It does not depend on the order of hidden units. 1:
  /// the same; r / C is what unrelated subspaces have.
  std::vector<std::vector<double>> output_overlap;
  std::vector<std::int64_t> tokens;  // (E) that chose the expert
  std::vector<double> output_norm;   // (E) mean of |E(x)| over these; NaN of none
  /// (E) mean of gate * |E(x)| over these (REAP; Lasby et al. 2025, arXiv 2510.13999): experts of a
  /// small score are the first that can go. NaN of none.
  std::vector<double> reap;
};

/// (L).
std::vector<ExpertLikeness> expert_likeness(SparseMoELanguageModel& model, TokenView tokens,
                                            const SplitRequest& request);

}  // namespace moe
