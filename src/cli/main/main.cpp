#include <ATen/Context.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/util/Exception.h>
#include <torch/version.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <new>

#include "cli/output.h"
#include "moe/base/error.h"
#include "moe/base/text.h"
#include "moe/base/version.h"
#include "moe/cli/app.h"

namespace {

using namespace moe;
using namespace moe::cli;

constexpr int kBug = 1, kUsage = 2;

std::string version_text() {
  const auto cuda = at::hasCUDA() ? cat("CUDA runtime ", at::detail::getCUDAHooks().versionCUDART())
                                  : std::string("no CUDA");
  return cat("makemoe ", version(), " (", commit(), "), libtorch ", TORCH_VERSION, ", ", cuda, ", ",
             compiler());
}

/// Out of memory is the user's to mend, however libtorch words it.
bool is_out_of_memory(std::string_view what) {
  return what.find("not enough memory") != std::string_view::npos ||
         what.find("out of memory") != std::string_view::npos ||
         what.find("can't allocate memory") != std::string_view::npos ||
         what.find("DefaultCPUAllocator") != std::string_view::npos;
}

int out_of_memory(Log& log) {
  log.error(
      "out of memory; lower train.batch_size, model.block_size, model.n_embed, model.n_layer or "
      "model.moe.num_experts");
  return static_cast<int>(ErrorKind::resource);
}

int bug(Log& log, std::string_view what) {
  if (is_out_of_memory(what)) return out_of_memory(log);
  log.error(cat("this is a bug in makemoe ", version(), " (", commit(), "): ", what));
  return kBug;
}

/// Runs what was named; the only place that catches.
int guarded(const Run& run, const Services& services) {
  auto& log = services.log;
  try {
    return run(services);
  } catch (const Error& error) {
    log.error(error.what());
    return error.exit_code();
  } catch (const Interrupted& stopped) {
    return 128 + stopped.signal();
  } catch (const OutputClosed&) {
    return 0;
  } catch (const std::bad_alloc&) {
    return out_of_memory(log);
  } catch (const c10::Error& error) {
    return bug(log, error.what_without_backtrace());
  } catch (const std::exception& error) {
    return bug(log, error.what());
  }
}

FaultPlan fault_plan() {
  const auto* text = std::getenv("MAKEMOE_TEST_FAULT");
  return text == nullptr ? FaultPlan{} : FaultPlan::parse(text);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Trains, evaluates and samples sparse mixture-of-experts language models",
               "makemoe"};
  app.set_version_flag("--version", version_text);
  app.require_subcommand(1);
  app.footer(
      "Start here:\n  makemoe train --config configs/quickstart.json --data TEXT.txt --out runs/a\n"
      "  makemoe generate runs/a\nmakemoe COMMAND --help tells more.");
  Run run;
  for (const auto add :
       {add_train, add_eval, add_generate, add_info, add_import, add_export, add_config, add_bench, add_sweep})
    add(app, run);
  if (argc == 1) {
    std::fputs(app.help().c_str(), stderr);
    return kUsage;
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsage;
  }
  const InterruptFlag interrupt;
  Log log;
  return guarded(
      [&](const Services& services) {
        FileLayer files(fault_plan());
        return run({services.interrupt, services.log, files});
      },
      {interrupt, log, *std::make_unique<FileLayer>()});
}
