#include "cli/report.h"

#include <CLI/CLI.hpp>

#include "cli/options.h"
#include "cli/output.h"
#include "moe/base/text.h"
#include "moe/report/report.h"

namespace moe::cli {

namespace {

struct ReportArgs {
  std::vector<std::string> runs;
  std::string out;
};

}  // namespace

int run_report(const std::vector<std::string>& names, const std::string& out,
               const Services& services) {
  const std::vector<fs::path> folders(names.begin(), names.end());
  if (is_standard_output(out)) {
    print(report::page_of(folders));
    return 0;
  }
  const auto file = out.empty() ? report::default_file(folders) : fs::path(out);
  report::write_report(folders, file, services.files);
  print(cat(file.string(), "\n"));
  return 0;
}

void write_report_or_warn(const fs::path& folder, const Services& services) {
  try {
    report::write_report({folder}, report::default_file({folder}), services.files);
  } catch (const std::exception& error) {
    services.log.warn(cat(error.what(), " (no report; the rest is as it should be)"));
  }
}

void add_report(CLI::App& app, Run& run) {
  auto* command = app.add_subcommand("report", "Write an HTML page about runs or sweeps");
  const auto args = std::make_shared<ReportArgs>();
  command->add_option("run", args->runs, "folders of runs or sweeps")->required();
  add_name(
      *command, "--out", args->out,
      "HTML file, or - for standard output; default: report.html, in the folder of one run, in "
      "the current folder for several");
  command->footer(
      "The page is one file without network or script. train and sweep run write it when they "
      "end.\n"
      "Examples:\n  makemoe report runs/a\n"
      "  makemoe report runs/a runs/b --out compared.html");
  command->callback([args, &run] {
    run = [args](const Services& services) { return run_report(args->runs, args->out, services); };
  });
}

}  // namespace moe::cli
