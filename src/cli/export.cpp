#include "cli/options.h"
#include "cli/output.h"
#include "cli/session.h"
#include "moe/base/text.h"
#include "moe/cli/app.h"
#include "moe/model/flat.h"

namespace moe::cli {

namespace {

struct ExportArgs {
  CheckpointArgs checkpoint;
  std::string format = "makemoe", out;
};

int run_export(const ExportArgs& args, const Services& services) {
  auto loaded = load_model(args.checkpoint, "cpu", {}, services.log);
  const FlatParameters flat(loaded.model);
  export_weights(flat, loaded.info.config.model,
                 [&](Pieces pieces) { write_result(args.out, pieces, services.files); });
  if (!is_standard_output(args.out)) services.log.info(cat("wrote ", args.out));
  return 0;
}

}  // namespace

void add_export(CLI::App& app, Run& run) {
  auto* command = app.add_subcommand("export", "Write the weights for the Python original");
  const auto args = std::make_shared<ExportArgs>();
  add_checkpoint(*command, args->checkpoint);
  command
      ->add_option("--format", args->format,
                   "makemoe: a state_dict with the published names; default: makemoe")
      ->check(CLI::IsMember({"makemoe"}));
  add_name(*command, "--out", args->out, "FILE.safetensors, or - for standard output")->required();
  command->footer(
      "Example:\n  makemoe export runs/quickstart --format makemoe --out weights.safetensors");
  command->callback([args, &run] {
    run = [args](const Services& services) { return run_export(*args, services); };
  });
}

}  // namespace moe::cli
