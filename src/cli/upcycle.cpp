#include "moe/model/upcycle.h"

#include "cli/options.h"
#include "cli/session.h"
#include "moe/base/program.h"
#include "moe/base/system.h"
#include "moe/base/text.h"
#include "moe/cli/app.h"
#include "moe/config/load.h"
#include "moe/config/spec_of.h"
#include "moe/tracking/run_folder.h"
#include "moe/train/state.h"
#include "moe/train/trainer.h"

namespace moe::cli {

namespace {

struct UpcycleArgs {
  CheckpointArgs checkpoint;
  std::int64_t experts = 0, top_k = 2;
  std::vector<std::string> overrides;
  std::string out;
};

/// The dense model's config with a mixture in each block.
RunConfig sparse_config(const RunConfig& dense, const UpcycleArgs& args) {
  auto config = dense;
  config.device = RunConfig().device;
  config.model.moe.num_experts = args.experts;
  config.model.moe.top_k = args.top_k;
  config.model.moe.shared_experts = 0;
  apply_overrides(config, args.overrides);
  if (const auto problems = config_problems(config); !problems.empty())
    throw ConfigError(join(problems, "\n"));
  return config;
}

/// What a model computes of its weights in evaluation, but for the mixture.
RunConfig without_mixture(const ModelConfig& model) {
  const ModelConfig published;
  RunConfig config;
  config.model = model;
  config.model.moe = published.moe;
  config.model.dropout = published.dropout;
  config.model.dropouts = published.dropouts;
  config.model.init = published.init;
  config.model.init_embedding_std = published.init_embedding_std;
  config.model.init_zero_outputs = published.init_zero_outputs;
  config.model.kernels = published.kernels;
  return config;
}

/// Refuses what --set may not change: all but the mixture, and the experts themselves.
void require_same_model(const RunConfig& dense, const RunConfig& sparse) {
  auto differences =
      resume_differences(without_mixture(dense.model), without_mixture(sparse.model));
  const auto width = [](const RunConfig& config) {
    return spec_of(config.model, 1).layers.front().feed_forward.up_width();
  };
  if (differences.empty() &&
      (width(dense) != width(sparse) || dense.model.moe.activation != sparse.model.moe.activation))
    differences.emplace_back("model.moe.activation, model.moe.expert_width");
  if (!differences.empty())
    throw ConfigError(
        cat("upcycle: the experts are copies of the dense model's MLP, and the rest "
            "is as it is there; take these back: ",
            join(differences, "; ")));
}

/// Of the text that the dense model was trained on; any text, where that is not known.
DataSums sums_of(const CheckpointInfo& info) {
  return read_facts(info.state, (info.ref.folder / "state.json").string()).sums;
}

int run_upcycle(const UpcycleArgs& args, const Services& services) {
  const auto loaded = load_model(args.checkpoint, "cpu", {}, services.log);
  const auto& info = loaded.info;
  const auto config = sparse_config(info.config, args);
  require_same_model(info.config, config);
  const auto vocabulary = info.vocabulary();
  if (const auto problem =
          upcycling_problem(loaded.model->spec(), spec_of(config.model, vocabulary));
      !problem.empty())
    throw ConfigError(cat(info.ref.folder.string(), ": ", problem));
  auto on_cpu = config;
  on_cpu.device = "cpu";
  auto memory = estimate_memory(on_cpu, vocabulary, {}, resident_memory());
  memory.batch = 0;  // nothing is learned here
  check_memory(memory, "upcycling");
  // A run at step 0 has a data cursor; any tokens give it one.
  const Tokens placeholder(static_cast<std::size_t>(config.model.block_size) + 1, 0);
  TrainState state(config, vocabulary, placeholder, at::kCPU);
  upcycle(FlatParameters(loaded.model), state.flat);
  auto folder = RunFolder::create(args.out, services.files);
  folder.write_json("config.json", config_to_json(config));
  folder.write_json("tokenizer.json", info.tokenizer.to_json());
  save_checkpoint(folder.path(), 0, state.flat, state.optimizer,
                  state_to_json(state, sums_of(info), 0), config, info.tokenizer,
                  /*is_best=*/false, services.files);
  services.log.info(cat("upcycled ", info.ref.folder.string(), " into ", args.out, ": ",
                        args.experts, " experts in each of ", config.model.n_layer,
                        " layers, which answer as one did; train them with: ",
                        command_line({"train", "--resume", "--out", args.out})));
  return 0;
}

}  // namespace

void add_upcycle(CLI::App& app, Run& run) {
  auto* command = app.add_subcommand(
      "upcycle", "Make a run at step 0 whose experts are copies of a dense model's MLPs");
  const auto args = std::make_shared<UpcycleArgs>();
  add_checkpoint(*command, args->checkpoint);
  constexpr std::int64_t kMostExperts = 1024;
  add_whole<std::int64_t>(*command, "--num-experts", args->experts, "experts in each block", 2,
                          kMostExperts)
      ->required();
  add_whole<std::int64_t>(*command, "--top-k", args->top_k, "experts for each token; default: 2", 1,
                          kMostExperts);
  add_overrides(
      *command, args->overrides,
      "a key of the new run, as in model.moe.balance.kind=switch or train.max_iters=2000");
  add_name(*command, "--out", args->out, "folder of the new run; must be new or empty")->required();
  command->footer(
      "Example:\n  makemoe upcycle runs/dense --num-experts 8 --out runs/sparse\n"
      "  makemoe train --resume --out runs/sparse");
  command->callback([args, &run] {
    run = [args](const Services& services) { return run_upcycle(*args, services); };
  });
}

}  // namespace moe::cli
