#include <algorithm>
#include <array>
#include <set>
#include <string_view>

#include "cli/gguf.h"
#include "cli/imported_run.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/session.h"
#include "moe/base/text.h"
#include "moe/cli/app.h"
#include "moe/config/load.h"
#include "moe/exchange/hf_folder.h"
#include "moe/model/flat.h"

namespace moe::cli {

namespace {

struct ExportArgs {
  CheckpointArgs checkpoint;
  std::string format = "makemoe", dtype, out;
  bool force = false;
};

/// Keys of makeMoE.py itself, keys that change no number of a model with weights (a tied weight is
/// exported under both names), and those that changes_to_original has words of its own for.
/// Capacity never holds in evaluation here.
constexpr std::array<std::string_view, 25> kKnownToOriginal{"n_embed",
                                                            "n_head",
                                                            "n_layer",
                                                            "block_size",
                                                            "dropout",
                                                            "dropouts.embedding",
                                                            "dropouts.attention",
                                                            "dropouts.residual",
                                                            "dropouts.expert",
                                                            "init",
                                                            "init_embedding_std",
                                                            "init_zero_outputs",
                                                            "attention_scale",
                                                            "tied",
                                                            "kernels",
                                                            "moe.num_experts",
                                                            "moe.top_k",
                                                            "moe.router",
                                                            "moe.gate",
                                                            "moe.noise_in_eval",
                                                            "moe.capacity_factor",
                                                            "moe.balance",
                                                            "moe.z_loss",
                                                            "moe.jitter",
                                                            "moe.router_init_std"};

/// Adds all other keys of a section that are not as published: what is new here, the original
/// lacks.
void add_new_keys(const Json& section, const Json& published, const std::string& prefix,
                  std::vector<std::string>& out) {
  for (const auto& [key, value] : section.items()) {
    const auto path = prefix + key;
    if (value.is_object())
      add_new_keys(value, published[key], path + ".", out);
    else if (value != published[key] &&
             std::ranges::find(kKnownToOriginal, path) == kKnownToOriginal.end())
      out.push_back(
          cat("model.", path, " is ", value.dump(), " (it has ", published[key].dump(), " alone)"));
  }
}

Json model_json(const ModelConfig& model) {
  RunConfig config;
  config.model = model;
  return config_to_json(config)["model"];
}

/// Where a model computes otherwise than makeMoE.py, and what to write there (ADR 0010).
std::vector<std::string> changes_to_original(const ModelConfig& model) {
  std::vector<std::string> out;
  add_new_keys(model_json(model), model_json({}), "", out);
  const bool is_noisy = model.moe.router == RouterKind::noisy_topk;
  if (model.attention_scale != AttentionScale::n_embed)
    out.emplace_back(
        "model.attention_scale is not n_embed (in Head, write k.shape[-1]**-0.5 for C**-0.5)");
  if (model.moe.router == RouterKind::hash)
    out.emplace_back("model.moe.router is \"hash\" (it has no table of the symbols' experts)");
  else if (!is_noisy)
    out.emplace_back(
        "model.moe.router is not noisy_topk (in the router, keep one Linear, \"linear\", and no "
        "noise)");
  if (is_noisy && !model.moe.noise_in_eval)
    out.emplace_back(
        "model.moe.noise_in_eval is not true (in NoisyTopkRouter, add noise only if "
        "self.training)");
  if (has_balance_bias(model.moe))
    out.emplace_back(
        "model.moe.balance has a bias (in the router, add balance_bias to the scores, for the "
        "choice alone)");
  if (model.moe.gate != Gate::topk_softmax)
    out.emplace_back(
        "model.moe.gate is not topk_softmax (in the router, compute router_output as this gate "
        "does)");
  return out;
}

void warn_of_changes(const ModelConfig& model, Log& log) {
  if (const auto changes = changes_to_original(model); !changes.empty())
    log.warn(
        cat("the Python original computes other numbers with these weights until it is changed: ",
            join(changes, "; ")));
}

int export_state_dict(const ExportArgs& args, LoadedModel& loaded, const Services& services) {
  const FlatParameters flat(loaded.model);
  export_weights(flat, loaded.info.config.model,
                 [&](Pieces pieces) { write_result(args.out, pieces, services.files); });
  warn_of_changes(loaded.info.config.model, services.log);
  if (!is_standard_output(args.out)) services.log.info(cat("wrote ", args.out));
  return 0;
}

FolderDtype folder_dtype(const std::string& name) {
  const auto& names = EnumNames<FolderDtype>::names;
  const auto found = std::ranges::find(names, name.empty() ? names.front() : name);
  if (found == names.end())
    throw ConfigError(cat("--dtype: \"", name,
                          "\" is for other formats; with --format hf give f32, f16 or "
                          "bf16"));
  return static_cast<FolderDtype>(found - names.begin());
}

/// What the folder of a model is, for people.
std::string describe_folder(const TwinAnswer& answer) {
  if (answer.twin) return cat("a ", names_of(answer.twin->architecture).model_type, " model");
  return cat("a model of its own, which transformers loads with trust_remote_code=True, since ",
             join(answer.obstacles, ", "), " make it none of theirs");
}

int export_folder(const ExportArgs& args, LoadedModel& loaded, const Services& services) {
  const auto dtype = folder_dtype(args.dtype);
  if (is_standard_output(args.out))
    throw ConfigError(cat("--out: ", args.out, " is no folder; name one for --format hf"));
  const FlatParameters flat(loaded.model);
  const auto folder = make_folder(
      {loaded.info.config.model, loaded.model->spec(), loaded.info.tokenizer, values_of(flat)},
      dtype);
  write_folder(args.out, folder.files, args.force, services.files);
  if (folder.answer.twin && loaded.info.config.model.moe.router == RouterKind::noisy_topk)
    services.log.warn("the router's noise, which is for training alone, is not exported");
  services.log.info(cat("wrote ", args.out, ": ", describe_folder(folder.answer)));
  return 0;
}

int export_gguf_file(const ExportArgs& args, LoadedModel& loaded, const Services& services) {
  return write_gguf_file(args.out, args.dtype, loaded, services);
}

struct ExportFormat {
  const char* name;
  int (*write)(const ExportArgs& args, LoadedModel& loaded, const Services& services);
  bool takes_dtype, takes_force;
};
constexpr std::array kFormats{ExportFormat{"makemoe", export_state_dict, false, false},
                              ExportFormat{"hf", export_folder, true, true},
                              ExportFormat{"gguf", export_gguf_file, true, false}};

int run_export(const ExportArgs& args, const Services& services) {
  const auto& format = *std::ranges::find(kFormats, args.format, &ExportFormat::name);
  const auto refuse = [&](const char* flag) {
    throw ConfigError(
        cat(flag, ": is not for --format ", args.format, "; leave it out, or give another format"));
  };
  if (!format.takes_dtype && !args.dtype.empty()) refuse("--dtype");
  if (!format.takes_force && args.force) refuse("--force");
  auto loaded = load_model(args.checkpoint, "cpu", {}, services.log);
  return format.write(args, loaded, services);
}

std::set<std::string> format_names() {
  std::set<std::string> out;
  for (const auto& format : kFormats) out.insert(format.name);
  return out;
}

}  // namespace

void add_export(CLI::App& app, Run& run) {
  auto* command = app.add_subcommand("export", "Write a model in the formats of others");
  const auto args = std::make_shared<ExportArgs>();
  add_checkpoint(*command, args->checkpoint);
  command
      ->add_option("--format", args->format,
                   "makemoe: a state_dict for the Python original, with the published names; hf: a "
                   "folder that transformers loads, with the tokenizer; gguf: a file that "
                   "llama.cpp runs, with the tokenizer; default: makemoe")
      ->check(CLI::IsMember(format_names()));
  command->add_option("--dtype", args->dtype,
                      "how weights are stored: f32, f16 or bf16, in gguf also q8_0; default: f32");
  add_name(*command, "--out", args->out,
           "FILE, or - for standard output; hf: a folder, new or empty")
      ->required();
  command->add_flag("--force", args->force,
                    "hf: replace the model in a folder that is not empty; its other files stay");
  command->footer(
      "Examples:\n  makemoe export runs/quickstart --format makemoe --out weights.safetensors\n"
      "  makemoe export runs/quickstart --format hf --dtype bf16 --out quickstart-hf\n"
      "  makemoe export runs/words --format gguf --dtype q8_0 --out words.gguf");
  command->callback([args, &run] {
    run = [args](const Services& services) { return run_export(*args, services); };
  });
}

}  // namespace moe::cli
