#include <ATen/Context.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/util/Exception.h>
#include <fcntl.h>
#include <torch/version.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <new>
#include <sstream>
#include <system_error>
#include <tuple>

#include "cli/output.h"
#include "cli/usage.h"
#include "moe/base/error.h"
#include "moe/base/program.h"
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
      "memory: it ran out; lower train.batch_size, model.block_size, model.n_embed, model.n_layer "
      "or "
      "model.moe.num_experts");
  return static_cast<int>(ErrorKind::resource);
}

/// What the system refused in a place that has no message of its own for it.
int refused_by_system(Log& log, const std::system_error& error) {
  const auto* about_file = dynamic_cast<const std::filesystem::filesystem_error*>(&error);
  const auto where = about_file == nullptr || about_file->path1().empty()
                         ? std::string("the system")
                         : about_file->path1().string();
  log.error(cat(where, ": refused: ", error.code().message(), "; check the path and the limits"));
  return static_cast<int>(ErrorKind::resource);
}

int bug(Log& log, std::string_view what) {
  if (is_out_of_memory(what)) return out_of_memory(log);
  log.error(cat("this is a bug in makemoe ", version(), " (", commit(), "): ", what));
  return kBug;
}

/// Runs `work`; the only place that catches.
template <class Work>
int guarded(Log& log, const Work& work) {
  try {
    return work();
  } catch (const Error& error) {
    log.error(error.what());
    return error.exit_code();
  } catch (const Interrupted& stopped) {
    return 128 + stopped.signal();
  } catch (const OutputClosed&) {
    return 0;
  } catch (const std::bad_alloc&) {
    return out_of_memory(log);
  } catch (const std::system_error& error) {
    return refused_by_system(log, error);
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

/// A standard stream that came closed would be the number of the next file that is opened, and
/// messages would land in that file. Reading from it still ends at once, writing to it still fails.
void occupy_closed_streams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (fcntl(stream, F_GETFD) < 0) std::ignore = open("/dev/null", O_RDONLY);  // the lowest free
}

/// What --help and --version print, or what is wrong with the command line.
int answer(const CLI::App& app, const CLI::ParseError& error, Log& log) {
  if (error.get_exit_code() == 0) {
    std::ostringstream text;
    app.exit(error, text, text);
    print(text.str());
    return 0;
  }
  const auto problem = usage_problem(app, error);
  if (problem.empty())
    std::fputs(named_command(app).help().c_str(), stderr);
  else
    log.error(problem);
  return kUsage;
}

int makemoe(int argc, char** argv, const InterruptFlag& interrupt, Log& log) {
  CLI::App app{"Trains, evaluates and samples sparse mixture-of-experts language models",
               "makemoe"};
  app.set_version_flag("--version", version_text,
                       "Print the versions of makemoe, libtorch, CUDA and the compiler");
  app.require_subcommand(1);
  app.option_defaults()->take_last();  // of a flag that is given twice
  Run run;
  for (const auto add : {add_train, add_eval, add_generate, add_info, add_inspect, add_import,
                         add_export, add_upcycle, add_config, add_bench, add_report, add_track,
                         add_sweep, add_tokenizer, add_data, add_completion, add_man})
    add(app, run);
  app.footer(  // after the subcommands, which would inherit it
      "Start here:\n  makemoe train --config configs/quickstart.json --data TEXT.txt --out runs/a\n"
      "  makemoe generate runs/a\nmakemoe COMMAND --help explains each command and its options.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return answer(app, error, log);
  }
  FileLayer files(fault_plan(), [&log](const std::string& text) { log.warn(text); });
  return run({interrupt, log, files});
}

}  // namespace

int main(int argc, char** argv) {
  occupy_closed_streams();
  if (argc > 0) set_program(argv[0]);
  const InterruptFlag interrupt;
  Log log;
  return guarded(log, [&] { return makemoe(argc, argv, interrupt, log); });
}
