#include "cli/usage.h"

#include <CLI/CLI.hpp>

#include "moe/base/program.h"
#include "moe/base/text.h"

namespace moe::cli {

namespace {

/// "makemoe config check"
std::string full_name(const CLI::App& command) {
  const auto* parent = command.get_parent();
  return parent == nullptr ? command.get_name() : cat(full_name(*parent), " ", command.get_name());
}

/// "build/makemoe config check", as it is called here.
std::string called_name(const CLI::App& command) {
  const auto* parent = command.get_parent();
  return parent == nullptr ? program() : cat(called_name(*parent), " ", command.get_name());
}

std::string see_help(const CLI::App& command) {
  return cat("see ", called_name(command), " --help");
}

std::vector<std::string> subcommands_of(const CLI::App& command) {
  std::vector<std::string> names;
  for (const auto* sub : command.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(sub->get_name());
  return names;
}

std::vector<std::string> options_of(const CLI::App& command) {
  std::vector<std::string> names;
  for (const auto* option : command.get_options())
    for (const auto& name : option->get_lnames()) names.push_back("--" + name);
  return names;
}

/// The candidate that was probably meant: one that begins so, or one letter or two away; or "".
std::string meant(const std::string& word, const std::vector<std::string>& candidates) {
  constexpr std::size_t kTelling = 3;  // fewer letters begin too many
  if (word.size() >= kTelling)
    for (const auto& candidate : candidates)
      if (candidate.starts_with(word)) return candidate;
  return std::string(nearest(word, candidates));
}

/// CLI11's own names of its errors are not to be had of all: some carry the command's.
template <class Kind>
bool is_a(const CLI::ParseError& error) {
  return dynamic_cast<const Kind*>(&error) != nullptr;
}

std::string unknown_word(const CLI::App& command, const std::string& word) {
  const auto where = full_name(command);
  const auto subcommands = subcommands_of(command);
  if (word.starts_with('-')) {
    const auto name = word.substr(0, word.find('='));
    const auto near = meant(name, options_of(command));
    return cat(where, ": ", printable(name), " is not an option; ",
               near.empty() ? see_help(command) : cat("did you mean ", near, "?"));
  }
  if (subcommands.empty())
    return cat(where, ": \"", printable(word), "\" is one argument too many; put a text with ",
               "spaces in quotes, and ", see_help(command));
  const auto near = meant(word, subcommands);
  return cat(where, ": \"", printable(word), "\" is not a command; ",
             near.empty() ? cat("give one of ", join(subcommands, ", "))
                          : cat("did you mean \"", near, "\"?"));
}

}  // namespace

const CLI::App& named_command(const CLI::App& app) {
  const auto named = app.get_subcommands();
  return named.empty() ? app : named_command(*named.front());
}

std::string usage_problem(const CLI::App& app, const CLI::ParseError& error) {
  const auto& command = named_command(app);
  const auto where = full_name(command);
  const bool is_missing = is_a<CLI::RequiredError>(error);
  // What is missing may be what was mistyped.
  if (const auto unknown = app.remaining(/*recurse=*/true);
      (is_missing || is_a<CLI::ExtrasError>(error)) && !unknown.empty())
    return unknown_word(command, unknown.front());
  if (is_missing && !subcommands_of(command).empty()) return "";
  const std::string what = error.what();
  if (is_a<CLI::ValidationError>(error) && what.find("; ") != std::string::npos)
    return cat(where, ": ", what);
  if (is_a<CLI::ArgumentMismatch>(error))
    return cat(where, ": ", what.substr(0, what.find(':')), " needs a value; ", see_help(command));
  return cat(where, ": ", what, "; ", see_help(command));
}

}  // namespace moe::cli
