#include "cli/command_table.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <sstream>

#include "moe/base/text.h"
#include "moe/config/load.h"

namespace moe::cli {

namespace {

/// "TEXT:{train,val,all}" as its choices.
std::vector<std::string> choices_of(const std::string& type) {
  const auto begin = type.find('{'), end = type.find('}');
  std::vector<std::string> out;
  if (begin == std::string::npos || end == std::string::npos) return out;
  std::istringstream list(type.substr(begin + 1, end - begin - 1));
  for (std::string choice; std::getline(list, choice, ',');) out.push_back(choice);
  return out;
}

ArgumentInfo argument_of(const CLI::Option& option) {
  ArgumentInfo out;
  for (const auto& name : option.get_snames()) out.names.push_back("-" + name);
  for (const auto& name : option.get_lnames()) out.names.push_back("--" + name);
  if (option.get_positional()) out.names = {option.get_name(/*positional=*/true)};
  const auto type = option.get_type_name();
  out.choices = choices_of(type);
  if (option.get_items_expected_max() > 0)
    out.value = out.choices.empty() ? type.substr(0, type.find(':')) : join(out.choices, "|");
  out.help = option.get_description();
  out.is_required = option.get_required();
  out.repeats = option.get_items_expected_max() > 1;
  return out;
}

void collect(const CLI::App& app, const std::string& path, std::vector<CommandInfo>& out) {
  CommandInfo command{path, app.get_description(), app.get_footer(), {}, {}, {}};
  for (const auto* option : app.get_options())
    (option->get_positional() ? command.positionals : command.options)
        .push_back(argument_of(*option));
  const auto children = app.get_subcommands([](const CLI::App*) { return true; });
  for (const auto* child : children) command.children.push_back(child->get_name());
  out.push_back(std::move(command));
  for (const auto* child : children)
    collect(*child, path.empty() ? child->get_name() : cat(path, " ", child->get_name()), out);
}

}  // namespace

std::vector<CommandInfo> command_table(const CLI::App& app) {
  std::vector<CommandInfo> out;
  collect(app, "", out);
  return out;
}

std::vector<std::string> config_keys() {
  std::vector<std::string> keys;
  std::istringstream lines(describe_config());
  for (std::string line; std::getline(lines, line);) keys.push_back(line.substr(0, line.find(' ')));
  return keys;
}

}  // namespace moe::cli
