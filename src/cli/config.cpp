#include "cli/options.h"
#include "cli/output.h"
#include "moe/base/text.h"
#include "moe/cli/app.h"
#include "moe/config/load.h"

namespace moe::cli {

namespace {

struct ConfigArgs {
  std::string file;
  std::vector<std::string> overrides;
};

RunConfig load(const ConfigArgs& args) {
  std::optional<fs::path> file;
  if (!args.file.empty()) file = args.file;
  return load_config(file, args.overrides);
}

}  // namespace

void add_config(CLI::App& app, Run& run) {
  auto* command = app.add_subcommand("config", "Check, show and explain configs");
  command->require_subcommand(1);
  const auto args = std::make_shared<ConfigArgs>();
  auto* check = command->add_subcommand("check", "Check a config file, and report every problem");
  check->add_option("file", args->file, "JSON config to check")->required();
  check->callback([args, &run] {
    run = [args](const Services&) {
      load_config(fs::path(args->file), {});
      print(cat(args->file, ": ok\n"));
      return 0;
    };
  });
  auto* show = command->add_subcommand("show", "Print a config with all its keys resolved");
  add_name(*show, "--config", args->file, "JSON config; default: the built-in one");
  add_overrides(*show, args->overrides,
                "set a key of the config, e.g. model.n_layer=4; may be repeated");
  show->footer("Example:\n  makemoe config show --config configs/tiny.json --set model.n_layer=4");
  show->callback([args, &run] {
    run = [args](const Services&) {
      print_json(config_to_json(load(*args)));
      return 0;
    };
  });
  command->add_subcommand("schema", "Print the JSON Schema of a config")->callback([&run] {
    run = [](const Services&) {
      print_json(config_schema());
      return 0;
    };
  });
  command->add_subcommand("defaults", "Print every key with type, default and meaning")
      ->callback([&run] {
        run = [](const Services& services) {
          print(describe_config());
          services.log.info(kAboutDefaults);
          return 0;
        };
      });
  command->footer(
      "Examples:\n  makemoe config check configs/makemoe.json\n"
      "  makemoe config show --config configs/tiny.json --set model.n_layer=4");
}

}  // namespace moe::cli
