#include "cli/imported_run.h"

#include <map>
#include <span>
#include <utility>

#include "cli/session.h"
#include "moe/base/system.h"
#include "moe/base/text.h"
#include "moe/config/load.h"
#include "moe/tracking/run_folder.h"
#include "moe/train/state.h"
#include "moe/train/trainer.h"

namespace moe::cli {

void make_imported_run(ImportedModel model, const std::string& out, const Services& services) {
  auto& config = model.config;
  config.device = "cpu";
  prepare_device(config, services.log);
  auto memory = estimate_memory(config, model.vocabulary, {}, resident_memory());
  memory.batch = 0;  // nothing is learned here
  check_memory(memory, "importing");
  // A run at step 0 has a data cursor; any tokens give it one.
  const Tokens placeholder(static_cast<std::size_t>(config.model.block_size) + 1, 0);
  TrainState state(config, model.vocabulary, placeholder, at::kCPU);
  model.fill(state.flat);
  auto folder = RunFolder::create(out, services.files);
  folder.write_json("config.json", config_to_json(config));
  folder.write_json("tokenizer.json", model.tokenizer.to_json());
  save_checkpoint(folder.path(), 0, state.flat, state.optimizer,
                  state_to_json(state, model.sums, 0), config, model.tokenizer,
                  /*is_best=*/false, services.files);
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
