#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace moe::cli {

/// A flag, an option with a value, or a positional argument, as --help has it.
struct ArgumentInfo {
  std::vector<std::string> names;  // "-h", "--help"; of a positional its name alone
  std::string value;               // "TEXT", "INT", "FLOAT", "val|all"; "" for a flag
  std::string help;
  std::vector<std::string> choices;  // where only these are taken
  bool is_required = false, repeats = false;
};

/// One command: "" is makemoe itself, "track push" a command of a command.
struct CommandInfo {
  std::string path, help, footer;
  std::vector<ArgumentInfo> options, positionals;
  std::vector<std::string> children;  // their own names: "push"
};

/// Every command in the order of --help, from the table that parses the command line; what is made
/// from it can not differ from what is taken.
std::vector<CommandInfo> command_table(const CLI::App& app);

/// Every key that --set takes.
std::vector<std::string> config_keys();

/// Scripts that complete the command line in these shells, and a manual page (man 1).
std::string bash_completion(const std::vector<CommandInfo>& commands);
std::string zsh_completion(const std::vector<CommandInfo>& commands);
std::string manual_page(const std::vector<CommandInfo>& commands);

}  // namespace moe::cli
