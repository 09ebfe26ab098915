#pragma once

#include <functional>
#include <string>

#include "moe/cli/app.h"
#include "moe/config/config.h"
#include "moe/data/tokenizer.h"
#include "moe/exchange/foreign_tensors.h"
#include "moe/model/flat.h"
#include "moe/spec/vocabulary.h"
#include "moe/train/material.h"

namespace moe::cli {

/// A model from elsewhere.
struct ImportedModel {
  RunConfig config;
  Vocabulary vocabulary;
  Tokenizer tokenizer;
  DataSums sums;  // none: any text that the vocabulary covers may follow
  std::function<void(FlatParameters&)> fill;  // with the weights
};

/// Makes a run at step 0 in a folder that is new or empty, once `fill` has all weights; nothing is
/// written where it throws. Throws ResourceError where memory is short.
void make_imported_run(ImportedModel model, const std::string& out, const Services& services);

/// Where tensors are by their published names; `flat`, on the CPU, must outlive it.
PlaceOf places_of(FlatParameters& flat);
/// Their values.
ValuesOf values_of(const FlatParameters& flat);

}  // namespace moe::cli
