#pragma once

#include <string>

#include "moe/model/flat.h"
#include "moe/spec/model_spec.h"

namespace moe {

// Sparse upcycling (Komatsuzaki et al. 2023, arXiv 2212.05055): a mixture that begins as the dense
// model that was trained before.

/// Why a model of `dense` cannot become one of `sparse` that answers the same, and what to do; ""
/// where it can. A layer of `dense` has one expert, or one shared one alone; one of `sparse` has
/// copies of it, whose gates sum to what the one's gate is.
std::string upcycling_problem(const ModelSpec& dense, const ModelSpec& sparse);

/// Every expert of a layer becomes the one of the dense layer, and everything else but the routers,
/// which stay as they are drawn, what it is there. Throws std::logic_error where a tensor has no
/// counterpart of its size.
void upcycle(const FlatParameters& dense, FlatParameters& sparse);

}  // namespace moe
