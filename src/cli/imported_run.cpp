#include "cli/imported_run.h"

#include <map>
#include <span>

#include "moe/base/system.h"
#include "moe/base/text.h"
#include "moe/checkpoint/checkpoint.h"
#include "moe/config/load.h"
#include "moe/tracking/run_folder.h"
#include "moe/train/state.h"
#include "moe/train/trainer.h"

namespace moe::cli {

void write_imported_run(const ImportedRun& run, const std::string& out,
                        const std::function<void(FlatParameters&)>& fill,
                        const Services& services) {
  auto memory = estimate_memory(run.config, run.vocabulary, {}, resident_memory());
  memory.batch = 0;  // nothing is learned here
  check_memory(memory, "importing");
  // A run at step 0 has a data cursor; any tokens give it one.
  const Tokens placeholder(static_cast<std::size_t>(run.config.model.block_size) + 1, 0);
  TrainState state(run.config, run.vocabulary, placeholder, at::kCPU);
  fill(state.flat);
  auto folder = RunFolder::create(out, services.files);
  folder.write_json("config.json", config_to_json(run.config));
  folder.write_json("tokenizer.json", run.tokenizer.to_json());
  save_checkpoint(folder.path(), 0, state.flat, state.optimizer, state_to_json(state, run.sums, 0),
                  run.config, run.tokenizer, /*is_best=*/false, services.files);
  services.log.info(cat("imported ", state.flat.layout().size(), " tensors into ", out));
}

namespace {

/// The stretches of a flat buffer by published names.
template <class Value>
std::map<std::string, std::span<Value>> stretches(const FlatParameters& flat, Value* values) {
  std::map<std::string, std::span<Value>> out;
  for (const auto& tensor : flat.layout())
    out[tensor.name] = {values + tensor.offset, static_cast<std::size_t>(tensor.numel())};
  return out;
}

}  // namespace

PlaceOf places_of(FlatParameters& flat) {
  return [places = stretches(flat, flat.values().mutable_data_ptr<float>())](
             const std::string& name) { return places.at(name); };
}

ValuesOf values_of(const FlatParameters& flat) {
  return [places = stretches(flat, flat.values().const_data_ptr<float>())](
             const std::string& name) { return places.at(name); };
}

}  // namespace moe::cli
