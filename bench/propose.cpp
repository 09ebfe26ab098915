// Proposes points of a space to a program that says what they are worth: bench/tpe.py.
// Standard input: a line {"space": {...}, "strategy": {...}}, then after each proposal a line with
// its value (lower is better; null: it failed). Standard output: a proposal a line.
#include <iostream>
#include <string>

#include "moe/base/text.h"
#include "moe/config/visit.h"
#include "moe/sweep/strategy.h"

namespace {

using namespace moe;
using namespace moe::sweep;

Definition read_task(const std::string& line) {
  const auto task = parse_json(line, "task", ErrorKind::config);
  Definition definition;
  std::vector<std::string> problems;
  definition.space = Space::parse(task.at("space"), problems);
  config_detail::read_section(task.at("strategy"), "strategy", definition.settings.strategy,
                              problems);
  if (!problems.empty()) throw ConfigError(join(problems, "\n"));
  return definition;
}

}  // namespace

int main() {
  std::string line;
  if (!std::getline(std::cin, line)) return 2;
  const auto definition = read_task(line);
  const auto strategy = make_strategy(definition);
  std::vector<Observation> history;
  while (true) {
    const auto index = static_cast<std::int64_t>(history.size());
    const auto point = strategy->propose(index, history);
    if (!point) return 0;
    std::cout << json_text(values_of(definition.space, *point)) << std::endl;
    if (!std::getline(std::cin, line)) return 0;
    const auto value = parse_json(line, "value", ErrorKind::data);
    history.push_back(
        {*point, value.is_number() ? std::optional(value.get<double>()) : std::nullopt});
  }
}
