#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "moe/base/json.h"
#include "moe/config/config.h"

namespace moe::sweep {

/// A setting of the space: key to value, as Optuna's journal keeps it: the number itself, or the
/// index of a choice. Keys whose condition does not hold are absent.
using Point = std::map<std::string, double>;

/// Holds when the parameter `key` is active and has one of these values.
struct Condition {
  std::string key;
  std::vector<Json> values;
};

/// One config key that the sweep varies.
struct Parameter {
  enum class Kind { choices, integer, real };

  std::string key;  // dotted, e.g. "model.moe.top_k"
  Kind kind = Kind::choices;
  std::vector<Json> choices;   // of Kind::choices
  double low = 0, high = 0;    // of the others, both included
  std::optional<double> step;  // low, low + step, ...; integers: 1 unless given
  bool log = false;            // uniform in the logarithm
  std::vector<Condition> when;

  /// What stands in a config: the choice, a whole number, a number.
  Json external(double value) const;
  /// How many values there are; nullopt: a continuum.
  std::optional<std::int64_t> size() const;
  /// The `index`-th value, from 0.
  double nth(std::int64_t index) const;
  /// The value of the range that is nearest to `number`.
  double nearest(double number) const;
  /// Optuna's distribution as the JSON text that its journal holds.
  std::string distribution() const;
  /// The value that `internal` under Optuna's `distribution` means here; nullopt: not in the range.
  std::optional<double> internal_of(double internal, std::string_view distribution) const;
  /// The value of this parameter that is `external` in a config, or in Optuna, which knows a choice
  /// that is a list by its JSON text; nullopt: not in the range.
  std::optional<double> internal_of(const Json& external) const;
  /// Its values for people: "2, 4 or 8", "1 to 4".
  std::string range_text() const;
};

/// What `internal` stands for in Optuna's `distribution`, as Optuna shows it.
Json optuna_value(double internal, std::string_view distribution);

/// The parameters in an order in which each stands after those that it depends on.
class Space {
 public:
  Space() = default;

  const std::vector<Parameter>& parameters() const { return parameters_; }
  const Parameter* find(std::string_view key) const;
  bool is_active(const Parameter& parameter, const Point& point) const;
  /// How many points there are, at most `limit` + 1 counted; nullopt: a continuum.
  std::optional<std::int64_t> size(std::int64_t limit) const;
  /// The points of a finite space in order, the last parameter fastest: from `first` on, at most
  /// `count`.
  std::vector<Point> points(std::int64_t first, std::int64_t count) const;

  /// Reads {"key": {"choices": [...]} | {"int": [low, high]} | {"float": [low, high]}, ...} with
  /// "step", "log" and "when". What is wrong is added to `problems`.
  static Space parse(const Json& json, std::vector<std::string>& problems);
  /// Every key must be a config key and every value one that it takes, over `base`.
  void check_keys(const RunConfig& base, std::vector<std::string>& problems) const;

 private:
  std::vector<Parameter> parameters_;
};

/// Each parameter's key cut to its shortest end that no other key has: "learning_rate", and
/// "schedule.kind" next to "optim.kind". For people; in the order of the parameters.
std::vector<std::string> short_keys(const Space& space);

/// {"model.moe.top_k": 2, ...} with the values as a config has them.
Json values_of(const Space& space, const Point& point);

/// `config` with the point's values; throws ConfigError with every problem, rules between keys
/// included.
RunConfig config_at(const RunConfig& config, const Space& space, const Point& point);

}  // namespace moe::sweep
