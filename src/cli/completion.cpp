#include <CLI/CLI.hpp>
#include <algorithm>

#include "cli/command_table.h"
#include "cli/output.h"
#include "moe/base/text.h"
#include "moe/cli/app.h"

namespace moe::cli {

namespace {

std::vector<std::string> option_names(const CommandInfo& command) {
  std::vector<std::string> out;
  for (const auto& option : command.options)
    out.insert(out.end(), option.names.begin(), option.names.end());
  return out;
}

bool takes_config_key(const ArgumentInfo& option) { return option.names.back() == "--set"; }

/// The branch of bash's case for the value of an option; "" where file names will do.
std::string bash_value(const CommandInfo& command, const ArgumentInfo& option) {
  if (option.value.empty()) return "";
  std::vector<std::string> patterns;
  for (const auto& name : option.names) patterns.push_back(cat("'", command.path, ":", name, "'"));
  auto action = std::string("return 0");
  if (takes_config_key(option))
    action = "compopt -o nospace; COMPREPLY=($(compgen -W \"$keys\" -S = -- \"$cur\")); return 0";
  else if (!option.choices.empty())
    action =
        cat("COMPREPLY=($(compgen -W '", join(option.choices, " "), "' -- \"$cur\")); return 0");
  return cat("    ", join(patterns, "|"), ") ", action, " ;;\n");
}

/// `text` as part of a zsh specification between single quotes.
std::string zsh_text(const std::string& text) {
  std::string out;
  for (const auto symbol : text) {
    if (symbol == '\'')
      out += "'\\''";
    else if (symbol == '[' || symbol == ']' || symbol == ':' || symbol == '\\')
      out += {'\\', symbol};
    else
      out += symbol;
  }
  return out;
}

std::string zsh_action(const ArgumentInfo& argument) {
  if (argument.names.back() == "--set") return "_makemoe_keys";
  if (!argument.choices.empty()) return cat("(", join(argument.choices, " "), ")");
  return argument.value == "TEXT" ? "_files" : " ";
}

std::string zsh_option(const ArgumentInfo& option) {
  std::string out;
  for (const auto& name : option.names) {
    out += cat("    '", option.repeats ? "*" : "", name, "[", zsh_text(option.help), "]");
    if (!option.value.empty()) out += cat(":", zsh_text(option.value), ":", zsh_action(option));
    out += "' \\\n";
  }
  return out;
}

std::string zsh_function_name(const std::string& path) {
  auto name = "_makemoe_command_" + path;
  std::replace(name.begin(), name.end(), ' ', '_');
  return name;
}

const CommandInfo& at_path(const std::vector<CommandInfo>& commands, const std::string& path) {
  return *std::find_if(commands.begin(), commands.end(),
                       [&](const CommandInfo& command) { return command.path == path; });
}

std::string child_path(const CommandInfo& command, const std::string& child) {
  return command.path.empty() ? child : cat(command.path, " ", child);
}

std::string zsh_function(const std::vector<CommandInfo>& commands, const CommandInfo& command) {
  auto out = cat(zsh_function_name(command.path), "() {\n  local -a line\n  local state\n",
                 "  _arguments -C \\\n");
  for (const auto& option : command.options) out += zsh_option(option);
  for (const auto& positional : command.positionals)
    out += cat("    '", positional.repeats ? "*:" : ":", zsh_text(positional.names.back()), ":",
               zsh_action(positional), "' \\\n");
  if (command.children.empty()) return out + "    && return 0\n}\n";
  out +=
      "    '1: :->command' '*:: :->arguments' && return 0\n  case $state in\n    command)\n"
      "      local -a names=(\n";
  for (const auto& child : command.children)
    out += cat("        '", child, ":",
               zsh_text(at_path(commands, child_path(command, child)).help), "'\n");
  out += "      )\n      _describe command names ;;\n    arguments)\n      case $line[1] in\n";
  for (const auto& child : command.children)
    out += cat("        ", child, ") ", zsh_function_name(child_path(command, child)), " ;;\n");
  return out + "      esac ;;\n  esac\n}\n";
}

}  // namespace

std::string bash_completion(const std::vector<CommandInfo>& commands) {
  std::string paths, values, names, children;
  for (const auto& command : commands) {
    const auto path = cat("    '", command.path, "') ");
    if (!command.path.empty()) paths += cat(paths.empty() ? "" : "|", "'", command.path, "'");
    for (const auto& option : command.options) values += bash_value(command, option);
    names += cat(path, "words='", join(option_names(command), " "), "' ;;\n");
    for (const auto& positional : command.positionals)
      if (!positional.choices.empty())
        children += cat(path, "words='", join(positional.choices, " "), "' ;;\n");
    if (!command.children.empty())
      children += cat(path, "words='", join(command.children, " "), "' ;;\n");
  }
  return cat(
      "# bash completion for makemoe, made by `makemoe completion bash`\n_makemoe() {\n"
      "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command= next "
      "words=\n"
      "  local keys='",
      join(config_keys(), " "),
      "'\n  local -i i\n  COMPREPLY=()\n  for ((i = 1; i < COMP_CWORD; i++)); do\n"
      "    next=\"${command:+$command }${COMP_WORDS[i]}\"\n    case $next in\n      ",
      paths,
      ") command=$next ;;\n    esac\n  done\n  # bash splits --option=value at the sign.\n"
      "  if [[ $cur == = ]]; then cur=; elif [[ $prev == = ]]; then "
      "prev=${COMP_WORDS[COMP_CWORD-2]}; fi\n"
      "  case $command:$prev in\n",
      values, "  esac\n  if [[ $cur == -* ]]; then\n    case $command in\n", names,
      "    esac\n  else\n    case $command in\n", children,
      "    esac\n  fi\n  [[ -z $words ]] || COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}\n"
      "# Where nothing fits: names of files and run folders.\n"
      "complete -o default -F _makemoe makemoe\n");
}

std::string zsh_completion(const std::vector<CommandInfo>& commands) {
  auto out =
      cat("#compdef makemoe\n# zsh completion for makemoe, made by `makemoe completion zsh`\n",
          "_makemoe_keys() {\n  local -a keys=(", join(config_keys(), " "),
          ")\n  if compset -P '*='; then _files; else compadd -S = -a keys; fi\n}\n");
  for (const auto& command : commands) out += zsh_function(commands, command);
  return out + cat("if [[ $funcstack[1] == _makemoe ]]; then\n  ", zsh_function_name(""),
                   " \"$@\"\nelse\n  compdef ", zsh_function_name(""), " makemoe\nfi\n");
}

void add_completion(CLI::App& app, Run& run) {
  auto* command = app.add_subcommand(
      "completion", "Print a script that completes the command line in bash or zsh");
  const auto shell = std::make_shared<std::string>();
  command->add_option("shell", *shell, "the shell that will read the script")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh"}));
  command->footer(
      "Examples:\n  source <(makemoe completion bash)   # in ~/.bashrc\n"
      "  mkdir -p ~/.zfunc\n"
      "  makemoe completion zsh > ~/.zfunc/_makemoe   # fpath+=~/.zfunc before compinit in "
      "~/.zshrc");
  command->callback([shell, &app, &run] {
    run = [shell, &app](const Services&) {
      const auto commands = command_table(app);
      print(*shell == "bash" ? bash_completion(commands) : zsh_completion(commands));
      return 0;
    };
  });
}

}  // namespace moe::cli
