#include <CLI/CLI.hpp>

#include "cli/output.h"
#include "cli/session.h"
#include "moe/base/text.h"
#include "moe/cli/app.h"
#include "moe/config/load.h"
#include "moe/model/build.h"
#include "moe/tracking/run_facts.h"
#include "moe/tracking/run_folder.h"

namespace moe::cli {

namespace {

/// The status of the run that the checkpoint lies in; null for one that lies elsewhere.
Json status_of_run(const CheckpointRef& ref) {
  if (!ref.run) return nullptr;
  const auto status = run_status(*ref.run, tracking::read_object(*ref.run / "run.json"));
  return status.empty() ? Json(nullptr) : Json(status);
}

int run_info(const std::string& checkpoint, bool json, Log& log) {
  const auto info = load_noticed(checkpoint, log);
  const auto vocab_size = info.tokenizer.vocab_size();
  const auto parameters = count_parameters(info.config.model, info.vocabulary());
  const auto active = count_active_parameters(info.config.model, info.vocabulary());
  const auto loss = [&](const char* key) { return info.state.value(key, Json(nullptr)); };
  const auto status = status_of_run(info.ref);
  if (json) {
    print_json({{"config", config_to_json(info.config)},
                {"step", info.ref.step},
                {"vocab_size", vocab_size},
                {"parameters", parameters},
                {"active_parameters", active},
                {"bytes", info.bytes},
                {"best_val_loss", loss("best_val_loss")},
                {"last_val_loss", loss("last_val_loss")},
                {"status", status}});
    return 0;
  }
  print(cat("checkpoint         ", info.ref.folder.string(), "\nstatus             ",
            status.is_null() ? "-" : status.get<std::string>(), "\nstep               ",
            info.ref.step, "\nvocab_size         ", vocab_size, "\nparameters         ",
            grouped(parameters), "\nactive_parameters  ", grouped(active), "\nbytes              ",
            human_bytes(static_cast<double>(info.bytes)), "\nbest_val_loss      ",
            json_text(loss("best_val_loss")), "\nlast_val_loss      ",
            json_text(loss("last_val_loss")), "\n"));
  return 0;
}

}  // namespace

void add_info(CLI::App& app, Run& run) {
  auto* command = app.add_subcommand("info", "Show what a checkpoint holds");
  const auto checkpoint = std::make_shared<std::string>();
  const auto json = std::make_shared<bool>(false);
  command
      ->add_option("checkpoint", *checkpoint,
                   "run folder (its best checkpoint, or its last if it has no best), RUN@best, "
                   "RUN@last, RUN@STEP, or a checkpoint folder")
      ->required();
  command->add_flag("--json", *json, "print one JSON object instead of text");
  command->footer("Example:\n  makemoe info runs/quickstart");
  command->callback([checkpoint, json, &run] {
    run = [checkpoint, json](const Services& services) {
      return run_info(*checkpoint, *json, services.log);
    };
  });
}

}  // namespace moe::cli
