#pragma once

#include <string>

namespace CLI {
class App;
class ParseError;
}  // namespace CLI

namespace moe::cli {

/// What is wrong with a command line, worded as every error: "makemoe generate: --temprature is no
/// option; did you mean --temperature?". "" where a command was only named without its subcommand:
/// then its usage says it best.
std::string usage_problem(const CLI::App& app, const CLI::ParseError& error);

/// The command that was named last, e.g. `config` of `makemoe config`.
const CLI::App& named_command(const CLI::App& app);

}  // namespace moe::cli
