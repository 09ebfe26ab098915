#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "moe/base/text.h"
#include "moe/config/load.h"
#include "moe/sweep/space.h"

namespace moe::sweep {

namespace {

using Problems = std::vector<std::string>;
constexpr double kLargestInteger = 9007199254740992.0;  // 2^53: beyond, a double skips some
constexpr double kLargestNumber = 1e100;                // a range's width and logarithm stay finite
constexpr std::size_t kMostKeys = 100, kMostChoices = 1000;
const std::vector<std::string> kMembers{"choices", "int", "float", "step", "log", "when"};

/// Reads one parameter; `where` is "space.KEY".
class ParameterReader {
 public:
  ParameterReader(const Json& json, std::string where, Problems& problems)
      : json_(json), where_(std::move(where)), problems_(problems) {}

  void read(Parameter& out) {
    if (!json_.is_object()) {
      refuse(cat(shown(json_), " is no object; write e.g. {\"choices\": [1, 2]}"));
      return;
    }
    check_members();
    const bool choices = json_.contains("choices"), whole = json_.contains("int");
    if (int{choices} + int{whole} + int{json_.contains("float")} != 1) {
      refuse("one of \"choices\", \"int\" and \"float\" is needed; give exactly one");
      return;
    }
    out.kind = choices ? Parameter::Kind::choices
               : whole ? Parameter::Kind::integer
                       : Parameter::Kind::real;
    choices ? read_choices(out) : read_range(json_[whole ? "int" : "float"], out);
    if (json_.contains("when")) read_conditions(json_["when"], out);
  }

 private:
  void refuse(std::string_view what) { problems_.push_back(cat(where_, ": ", what)); }

  void check_members() {
    for (const auto& item : json_.items()) {
      if (std::find(kMembers.begin(), kMembers.end(), item.key()) != kMembers.end()) continue;
      const auto near = nearest(item.key(), kMembers);
      refuse(cat("\"", printable(item.key()), "\" is not known; ",
                 near.empty() ? cat("known are ", join(kMembers, ", "))
                              : cat("did you mean \"", near, "\"?")));
    }
  }

  void read_choices(Parameter& out) {
    const auto& list = json_["choices"];
    if (!list.is_array() || list.empty()) {
      refuse(cat("choices: ", shown(list), " is no list of values; write e.g. [1, 2]"));
      return;
    }
    if (list.size() > kMostChoices) {
      refuse(cat("choices: ", list.size(), " are too many; give at most ", kMostChoices));
      return;
    }
    for (const auto& choice : list) {
      if (std::find(out.choices.begin(), out.choices.end(), choice) != out.choices.end())
        refuse(cat("choices: ", shown(choice), " stands twice; remove one"));
      out.choices.push_back(choice);
    }
    for (const auto* member : {"step", "log"})
      if (json_.contains(member)) refuse(cat(member, ": choices have none; remove it"));
  }

  void read_range(const Json& range, Parameter& out) {
    const bool whole = out.kind == Parameter::Kind::integer;
    const auto fits = [&](const Json& value) {
      return (whole ? value.is_number_integer() : value.is_number()) &&
             std::abs(value.get<double>()) <= (whole ? kLargestInteger : kLargestNumber);
    };
    if (!range.is_array() || range.size() != 2 || !fits(range[0]) || !fits(range[1])) {
      refuse(cat(shown(range), " is no range; write [low, high] with two ",
                 whole ? "whole numbers up to 2^53" : "numbers up to 1e100"));
      return;
    }
    out.low = range[0].get<double>();
    out.high = range[1].get<double>();
    if (out.low > out.high) refuse(cat(out.low, " is more than ", out.high, "; exchange them"));
    read_scale(whole, out);
  }

  void read_scale(bool whole, Parameter& out) {
    if (json_.contains("log")) {
      if (!json_["log"].is_boolean())
        refuse(cat("log: ", shown(json_["log"]), " is not true or false"));
      out.log = json_["log"].is_boolean() && json_["log"].get<bool>();
    }
    if (out.log && out.low <= 0)
      refuse(cat("log: ", out.low, " has no logarithm; begin the range above 0"));
    if (!json_.contains("step")) return;
    const auto& step = json_["step"];
    if (!step.is_number() || !(step.get<double>() > 0) || (whole && !step.is_number_integer()) ||
        step.get<double>() > (whole ? kLargestInteger : kLargestNumber)) {
      refuse(cat("step: ", shown(step), " does not fit; give ",
                 whole ? "a whole number up to 2^53" : "a number up to 1e100", ", above 0"));
      return;
    }
    if (out.log) refuse("step: not together with log; remove one, or list the choices");
    out.step = step.get<double>();
    const double steps = (out.high - out.low) / *out.step;
    if (out.low < out.high && !(steps > 1 - 1e-9 && steps <= kLargestInteger)) {
      refuse(
          cat("step: ", shown(step), " makes ", steps, " steps of this range; give another one"));
      return;
    }
    // Optuna wants the last step to be the end of the range: a range says where it really ends.
    out.high = out.nth(*out.size() - 1);
  }

  void read_conditions(const Json& when, Parameter& out) {
    if (!when.is_object() || when.empty()) {
      refuse(cat("when: ", shown(when), " is no condition; write {\"key\": value}"));
      return;
    }
    for (const auto& item : when.items()) {
      Condition condition{item.key(), {}};
      if (item.value().is_array())
        condition.values.assign(item.value().begin(), item.value().end());
      else
        condition.values.push_back(item.value());
      if (condition.values.empty() || condition.values.size() > kMostChoices)
        refuse(cat("when: ", printable(item.key()), " has ", condition.values.size(),
                   " values; give 1 to ", kMostChoices));
      out.when.push_back(std::move(condition));
    }
  }

  const Json& json_;
  std::string where_;
  Problems& problems_;
};

void check_conditions(const std::vector<Parameter>& parameters, Problems& problems) {
  std::vector<std::string> keys;
  keys.reserve(parameters.size());
  for (const auto& parameter : parameters) keys.push_back(parameter.key);
  for (const auto& parameter : parameters) {
    for (const auto& condition : parameter.when) {
      const auto where = cat("space.", parameter.key, ".when.", printable(condition.key), ": ");
      const auto other = std::find_if(parameters.begin(), parameters.end(),
                                      [&](const auto& p) { return p.key == condition.key; });
      if (other == parameters.end()) {
        const auto near = nearest(condition.key, keys);
        problems.push_back(
            cat(where, "is not in the space; ",
                near.empty() ? "put it there" : cat("did you mean \"", near, "\"?")));
        continue;
      }
      for (const auto& value : condition.values)
        if (!other->internal_of(value))
          problems.push_back(cat(where, shown(value), " is none of its values; change either"));
    }
  }
}

/// Each after those it depends on, otherwise as written; those in a circle are left over.
std::vector<Parameter> in_order(std::vector<Parameter> waiting, Problems& problems) {
  std::vector<Parameter> out;
  std::set<std::string> placed;
  const auto is_ready = [&](const Parameter& parameter) {
    return std::all_of(parameter.when.begin(), parameter.when.end(),
                       [&](const Condition& c) { return placed.contains(c.key); });
  };
  while (!waiting.empty()) {
    const auto next = std::find_if(waiting.begin(), waiting.end(), is_ready);
    if (next == waiting.end()) {
      problems.push_back(
          cat("space.", waiting.front().key, ".when: depends on itself in a circle; break it"));
      return out;
    }
    placed.insert(next->key);
    out.push_back(std::move(*next));
    waiting.erase(next);
  }
  return out;
}

/// Overrides are --set's words, too; here there is no such flag.
std::string_view without_flag(std::string_view problem) {
  constexpr std::string_view kFlag = "--set ";
  return problem.substr(problem.starts_with(kFlag) ? kFlag.size() : 0);
}

}  // namespace

Space Space::parse(const Json& json, Problems& problems) {
  Space space;
  if (!json.is_object() || json.empty()) {
    problems.push_back(cat("space: ", shown(json),
                           " names no key; write {\"optim.learning_rate\": {\"float\": [1e-4, "
                           "1e-2], \"log\": true}}"));
    return space;
  }
  if (json.size() > kMostKeys) {
    problems.push_back(cat("space: ", json.size(), " keys are too many; give at most ", kMostKeys));
    return space;
  }
  const auto before = problems.size();
  std::vector<Parameter> parameters;
  for (const auto& item : json.items()) {
    Parameter parameter;
    parameter.key = item.key();
    ParameterReader(item.value(), cat("space.", printable(item.key())), problems).read(parameter);
    parameters.push_back(std::move(parameter));
  }
  if (problems.size() > before) return space;
  check_conditions(parameters, problems);
  if (problems.size() == before) space.parameters_ = in_order(std::move(parameters), problems);
  return space;
}

void Space::check_keys(const RunConfig& base, Problems& problems) const {
  for (const auto& parameter : parameters_) {
    auto values = parameter.choices;
    if (parameter.kind != Parameter::Kind::choices)
      values = {parameter.external(parameter.low), parameter.external(parameter.high)};
    std::set<std::string> said;  // an unknown key is one problem, not one a value
    for (const auto& value : values) {
      auto config = base;
      const auto text = cat(parameter.key, "=", json_text(value));
      try {
        apply_overrides(config, std::array{text});
      } catch (const ConfigError& problem) {
        if (said.insert(problem.what()).second)
          problems.push_back(cat("space.", without_flag(problem.what())));
      }
    }
  }
}

}  // namespace moe::sweep
