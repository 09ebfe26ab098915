#pragma once

#include <functional>

#include "moe/base/file.h"
#include "moe/base/interrupt.h"
#include "moe/base/log.h"

namespace CLI {
class App;
}

namespace moe::cli {

/// What every subcommand is handed.
struct Services {
  const InterruptFlag& interrupt;
  Log& log;
  FileLayer& files;
};

/// The work of the subcommand that was named, set while parsing; yields the exit code.
using Run = std::function<int(const Services&)>;

void add_train(CLI::App& app, Run& run);
void add_eval(CLI::App& app, Run& run);
void add_generate(CLI::App& app, Run& run);
void add_info(CLI::App& app, Run& run);
void add_inspect(CLI::App& app, Run& run);
void add_import(CLI::App& app, Run& run);
void add_upcycle(CLI::App& app, Run& run);
void add_export(CLI::App& app, Run& run);
void add_config(CLI::App& app, Run& run);
void add_bench(CLI::App& app, Run& run);
void add_report(CLI::App& app, Run& run);
void add_track(CLI::App& app, Run& run);
void add_completion(CLI::App& app, Run& run);
void add_man(CLI::App& app, Run& run);
void add_sweep(CLI::App& app, Run& run);
void add_tokenizer(CLI::App& app, Run& run);
void add_data(CLI::App& app, Run& run);

}  // namespace moe::cli
