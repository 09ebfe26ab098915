#include "moe/sweep/space.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "moe/base/text.h"
#include "moe/config/load.h"

namespace moe::sweep {

namespace {

/// Optuna's dashboards take scalars as choices; anything else goes in as its JSON text.
Json optuna_choice(const Json& choice) {
  return choice.is_structured() ? Json(json_text(choice)) : choice;
}

std::int64_t steps_between(double low, double high, double step) {
  // (1 - 0.1) / 0.3 is 2.9999999999999996: a hair short of a step still counts.
  return static_cast<std::int64_t>(std::floor((high - low) / step + 1e-9));
}

/// The choices of Optuna's `distribution`; [] where it has none.
Json choices_in(std::string_view distribution) {
  if (distribution.find("\"choices\"") == std::string_view::npos) return Json::array();
  try {
    const auto json = parse_json(distribution, "distribution", ErrorKind::resource);
    const Json::json_pointer place("/attributes/choices");
    if (json.contains(place) && json.at(place).is_array()) return json.at(place);
  } catch (const Error&) {  // another's, or damaged: it has no choice of ours
  }
  return Json::array();
}

}  // namespace

Json Parameter::external(double value) const {
  if (kind == Kind::choices) return choices.at(static_cast<std::size_t>(value));
  if (kind == Kind::integer) return static_cast<std::int64_t>(value);
  return value;
}

std::optional<std::int64_t> Parameter::size() const {
  if (kind == Kind::choices) return static_cast<std::int64_t>(choices.size());
  if (kind == Kind::integer) return steps_between(low, high, step.value_or(1)) + 1;
  if (low == high) return 1;
  if (!step) return std::nullopt;
  return steps_between(low, high, *step) + 1;
}

double Parameter::nth(std::int64_t index) const {
  const auto i = static_cast<double>(index);
  if (kind == Kind::choices) return i;
  return std::min(high, low + i * step.value_or(kind == Kind::integer ? 1 : 0));
}

double Parameter::nearest(double number) const {
  const auto grain = step.value_or(kind == Kind::integer ? 1 : 0);
  if (grain > 0) number = low + grain * std::round((number - low) / grain);
  return std::clamp(number, low, high);
}

std::string Parameter::distribution() const {
  Json attributes;
  if (kind == Kind::choices) {
    attributes["choices"] = Json::array();
    for (const auto& choice : choices) attributes["choices"].push_back(optuna_choice(choice));
    return json_text({{"name", "CategoricalDistribution"}, {"attributes", attributes}});
  }
  if (kind == Kind::integer) {
    const auto whole = [](double value) { return static_cast<std::int64_t>(value); };
    attributes = {{"log", log},
                  {"step", whole(step.value_or(1))},
                  {"low", whole(low)},
                  {"high", whole(high)}};
    return json_text({{"name", "IntDistribution"}, {"attributes", attributes}});
  }
  attributes = {
      {"step", step ? Json(*step) : Json(nullptr)}, {"low", low}, {"high", high}, {"log", log}};
  return json_text({{"name", "FloatDistribution"}, {"attributes", attributes}});
}

std::optional<double> Parameter::internal_of(double internal, std::string_view distribution) const {
  const auto listed = choices_in(distribution);
  if (listed.empty() && kind != Kind::choices) return internal_of(Json(internal));
  if (!(internal >= 0 && internal < static_cast<double>(listed.size()))) return std::nullopt;
  return internal_of(listed[static_cast<std::size_t>(internal)]);
}

std::optional<double> Parameter::internal_of(const Json& external) const {
  if (kind == Kind::choices) {
    const auto found = std::find_if(choices.begin(), choices.end(), [&](const Json& choice) {
      return choice == external || optuna_choice(choice) == external;
    });
    if (found == choices.end()) return std::nullopt;
    return static_cast<double>(found - choices.begin());
  }
  if (!external.is_number()) return std::nullopt;
  const auto value = external.get<double>();
  const bool whole = kind == Kind::real || value == std::floor(value);
  if (!whole || !(value >= low && value <= high)) return std::nullopt;
  const auto steps = (value - low) / step.value_or(1);
  // A hair beside a step is the step: Python's 0.1 * 3 is 0.30000000000000004.
  if (step && std::abs(steps - std::round(steps)) > 1e-9 * std::max(1.0, steps))
    return std::nullopt;
  return value;
}

std::string Parameter::range_text() const {
  constexpr std::size_t kMost = 20;  // choices that are told
  if (kind != Kind::choices)
    return cat(json_text(external(low)), " to ", json_text(external(high)),
               step ? cat(" in steps of ", *step) : "");
  std::vector<std::string> all;
  for (const auto& choice : choices) all.push_back(printable(json_text(choice), 60, Quotes::kept));
  if (all.size() > kMost) {
    all.resize(kMost);
    all.emplace_back("...");
  }
  if (all.size() < 2) return join(all, "");
  const auto last = all.back();
  all.pop_back();
  return cat(join(all, ", "), " or ", last);
}

Json optuna_value(double internal, std::string_view distribution) {
  const auto listed = choices_in(distribution);
  if (internal >= 0 && internal < static_cast<double>(listed.size()))
    return listed[static_cast<std::size_t>(internal)];
  const bool is_whole = std::abs(internal) < 1e15 && internal == std::floor(internal);
  return is_whole ? Json(static_cast<std::int64_t>(internal)) : Json(internal);
}

const Parameter* Space::find(std::string_view key) const {
  for (const auto& parameter : parameters_)
    if (parameter.key == key) return &parameter;
  return nullptr;
}

bool Space::is_active(const Parameter& parameter, const Point& point) const {
  return std::all_of(parameter.when.begin(), parameter.when.end(), [&](const Condition& condition) {
    const auto* other = find(condition.key);
    const auto value = point.find(condition.key);
    if (other == nullptr || value == point.end()) return false;
    const auto external = other->external(value->second);
    return std::find(condition.values.begin(), condition.values.end(), external) !=
           condition.values.end();
  });
}

namespace {

/// Visits the points of a finite space in order until `visit` says false.
bool walk(const Space& space, std::size_t depth, Point& point,
          const std::function<bool(const Point&)>& visit) {
  if (depth == space.parameters().size()) return visit(point);
  const auto& parameter = space.parameters()[depth];
  if (!space.is_active(parameter, point)) return walk(space, depth + 1, point, visit);
  for (std::int64_t i = 0; i < *parameter.size(); ++i) {
    point[parameter.key] = parameter.nth(i);
    const bool go_on = walk(space, depth + 1, point, visit);
    point.erase(parameter.key);
    if (!go_on) return false;
  }
  return true;
}

}  // namespace

std::optional<std::int64_t> Space::size(std::int64_t limit) const {
  for (const auto& parameter : parameters_)
    if (!parameter.size()) return std::nullopt;
  std::int64_t count = 0;
  Point point;
  walk(*this, 0, point, [&](const Point&) { return ++count <= limit; });
  return count;
}

std::vector<Point> Space::points(std::int64_t first, std::int64_t count) const {
  std::vector<Point> out;
  std::int64_t index = 0;
  Point point;
  walk(*this, 0, point, [&](const Point& at) {
    if (index++ >= first) out.push_back(at);
    return index < first + count;
  });
  return out;
}

namespace {

/// Whether `key` is `end`, or ends with it after a dot.
bool ends_like(std::string_view key, std::string_view end) {
  return key == end || (key.ends_with(end) && key[key.size() - end.size() - 1] == '.');
}

}  // namespace

std::vector<std::string> short_keys(const Space& space) {
  const auto& all = space.parameters();
  std::vector<std::string> out;
  for (const auto& parameter : all) {
    const auto& key = parameter.key;
    const auto is_shared = [&](std::string_view end) {
      return std::count_if(all.begin(), all.end(),
                           [&](const Parameter& other) { return ends_like(other.key, end); }) > 1;
    };
    auto at = key.size();
    do {
      const auto dot = at == 0 ? std::string::npos : key.rfind('.', at - 1);
      at = dot == std::string::npos ? 0 : dot;
    } while (at > 0 && is_shared(std::string_view(key).substr(at + 1)));
    out.push_back(key.substr(at == 0 ? 0 : at + 1));
  }
  return out;
}

Json values_of(const Space& space, const Point& point) {
  Json out = Json::object();
  for (const auto& parameter : space.parameters())
    if (const auto value = point.find(parameter.key); value != point.end())
      out[parameter.key] = parameter.external(value->second);
  return out;
}

RunConfig config_at(const RunConfig& config, const Space& space, const Point& point) {
  auto out = config;
  std::vector<std::string> overrides;
  const auto values = values_of(space, point);
  for (const auto& item : values.items())
    overrides.push_back(cat(item.key(), "=", json_text(item.value())));
  apply_overrides(out, overrides);
  if (const auto problems = config_problems(out); !problems.empty())
    throw ConfigError(join(problems, "\n"));
  return out;
}

}  // namespace moe::sweep
