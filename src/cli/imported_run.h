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

/// Everything about a run at step 0 but the values of its weights.
struct ImportedRun {
  RunConfig config;
  Tokenizer tokenizer;
  Vocabulary vocabulary;
  DataSums sums;  // none: any text that the vocabulary covers may follow
};

/// Makes the run in the folder `out`, which must be new or empty; `fill` gives the weights their
/// values. Nothing is written before that.
void write_imported_run(const ImportedRun& run, const std::string& out,
                        const std::function<void(FlatParameters&)>& fill, const Services& services);

/// Where tensors are by their published names; `flat` must outlive it.
PlaceOf places_of(FlatParameters& flat);
/// Their values.
ValuesOf values_of(const FlatParameters& flat);

}  // namespace moe::cli
