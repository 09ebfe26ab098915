#include <CLI/CLI.hpp>
#include <sstream>

#include "cli/command_table.h"
#include "cli/output.h"
#include "moe/base/text.h"
#include "moe/base/version.h"
#include "moe/cli/app.h"
#include "moe/config/load.h"

namespace moe::cli {

namespace {

/// `text` as roff shows it: its own characters do nothing.
std::string roff(const std::string& text) {
  std::string out;
  for (const auto symbol : text) {
    if (symbol == '\\')
      out += "\\e";
    else if (symbol == '-')
      out += "\\-";
    else if ((symbol == '.' || symbol == '\'') && (out.empty() || out.back() == '\n'))
      out += {'\\', '&', symbol};
    else
      out += symbol;
  }
  return out;
}

std::string bold(const std::string& text) { return cat("\\fB", roff(text), "\\fR"); }
std::string italic(const std::string& text) { return cat("\\fI", roff(text), "\\fR"); }

/// Lines as they stand, aligned.
std::string verbatim(const std::string& text) { return cat(".nf\n", roff(text), "\n.fi\n"); }

std::string synopsis(const CommandInfo& command) {
  auto out = bold(command.path.empty() ? "makemoe" : cat("makemoe ", command.path));
  if (!command.options.empty()) out += " [" + italic("OPTIONS") + "]";
  for (const auto& positional : command.positionals) {
    const auto name = italic(positional.names.back()) + (positional.repeats ? "..." : "");
    out += positional.is_required ? " " + name : cat(" [", name, "]");
  }
  return command.children.empty() ? out : cat(out, " ", italic("COMMAND"));
}

std::string argument(const ArgumentInfo& info, bool is_positional) {
  std::vector<std::string> names;
  for (const auto& name : info.names) names.push_back(is_positional ? italic(name) : bold(name));
  auto out = cat(".TP\n", join(names, ", "));
  if (!is_positional && !info.value.empty()) out += " " + italic(info.value);
  return cat(out, "\n", roff(info.help), "\n");
}

std::string section_of(const CommandInfo& command) {
  auto out = cat(".SS \"", roff(cat("makemoe ", command.path)), "\"\n", roff(command.help),
                 ".\n.PP\n", synopsis(command), "\n");
  for (const auto& positional : command.positionals) out += argument(positional, true);
  for (const auto& option : command.options)
    if (option.names.back() != "--help") out += argument(option, false);
  return command.footer.empty() ? out : cat(out, ".PP\n", verbatim(command.footer));
}

constexpr const char* kExitStatus = R"(0    done
1    a bug; please report it
2    usage or configuration
3    data, tokenizer or prompt
4    checkpoint or weights: missing, damaged, mismatched
5    loss or gradient not finite
6    memory, disk, device, a server, or a folder in use
128+n  ended by signal n, after saving)";

constexpr const char* kEnvironment =
    R"(MLFLOW_TRACKING_URI               MLflow server, if the config names none
MLFLOW_TRACKING_USERNAME          its login, with
MLFLOW_TRACKING_PASSWORD
MLFLOW_TRACKING_TOKEN             the same by a token
MLFLOW_TRACKING_SERVER_CERT_PATH  https: file of certificates to trust instead of the system's
MLFLOW_TRACKING_INSECURE_TLS      https: "true" takes any certificate
OMP_NUM_THREADS                   the most threads to take, where the config names no number
NO_COLOR                          no colours on a terminal)";

}  // namespace

std::string manual_page(const std::vector<CommandInfo>& commands) {
  const auto& root = commands.front();
  auto out = cat(".TH MAKEMOE 1 \"\" \"makemoe ", version(), "\" \"User Commands\"\n.SH NAME\n",
                 "makemoe \\- ", roff(root.help), "\n.SH SYNOPSIS\n", synopsis(root),
                 "\n.SH DESCRIPTION\n", roff(root.help),
                 ". Results go to standard output, progress and messages to standard error.\n.PP\n",
                 verbatim(root.footer), ".SH COMMANDS\n");
  for (const auto& command : commands)
    if (!command.path.empty()) out += section_of(command);
  return out + cat(".SH CONFIG KEYS\nFor a config file, and for ", bold("--set"), " ",
                   italic("KEY=VALUE"), ".\n.PP\n", verbatim(describe_config()),
                   ".SH EXIT STATUS\n", verbatim(kExitStatus), ".SH ENVIRONMENT\n",
                   verbatim(kEnvironment));
}

void add_man(CLI::App& app, Run& run) {
  auto* command = app.add_subcommand("man", "Print the manual page");
  command->footer("Example:\n  makemoe man | man -l -");
  command->callback([&app, &run] {
    run = [&app](const Services&) {
      print(manual_page(command_table(app)));
      return 0;
    };
  });
}

}  // namespace moe::cli
