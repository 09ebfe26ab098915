#pragma once

#include "moe/base/json.h"
#include "moe/spec/model_spec.h"

namespace moe {

/// What modeling_makemoe.py computes: a ModelSpec as far as evaluation goes.
Json spec_json(const ModelSpec& spec);

}  // namespace moe
