#include "config/visit.h"
#include "moe/config/load.h"

namespace moe {

namespace {

template <class T>
std::string type_name() {
  if constexpr (is_optional<T>::value)
    return type_name<typename T::value_type>() + " or null";
  else if constexpr (std::is_same_v<T, std::int64_t>)
    return "integer";
  else if constexpr (std::is_same_v<T, double>)
    return "number";
  else if constexpr (std::is_same_v<T, bool>)
    return "boolean";
  else if constexpr (std::is_same_v<T, Betas>)
    return "two numbers";
  else
    return "text";
}

std::string padded(std::string text, std::size_t width) {
  text.resize(std::max(width, text.size() + 1), ' ');
  return text;
}

template <Section S>
void describe(const S& section, const std::string& path, std::string& out) {
  for_each_field<S>([&](const auto& row) {
    const auto& value = section.*(row.member);
    using T = std::remove_cvref_t<decltype(value)>;
    const auto key = config_detail::joined_path(path, row.key);
    if constexpr (Section<T>) {
      describe(value, key, out);
    } else {
      out += padded(key, 36) + padded(type_name<T>(), 17) +
             padded(json_text(config_detail::member_to_json(value)), 16) + std::string(row.help);
      if (row.bounds.min) out += cat(" (", config_detail::bounds_text(row.bounds), ")");
      if constexpr (std::is_enum_v<T>) {
        const auto& names = EnumNames<T>::names;
        out += cat(" (", join(std::vector<std::string>(names.begin(), names.end()), " | "), ")");
      }
      out += "\n";
    }
  });
}

void add_bounds(Json& json, const Bounds& bounds) {
  if (bounds.min) json[bounds.min_open ? "exclusiveMinimum" : "minimum"] = *bounds.min;
  if (bounds.max) json[bounds.max_open ? "exclusiveMaximum" : "maximum"] = *bounds.max;
}

template <class T>
Json schema_of(const T& value, const Bounds& bounds) {
  Json json;
  if constexpr (Section<T>) {
    json = {{"type", "object"}, {"additionalProperties", false}, {"properties", Json::object()}};
    for_each_field<T>([&](const auto& row) {
      auto member = schema_of(value.*(row.member), row.bounds);
      member["description"] = std::string(row.help);
      json["properties"][std::string(row.key)] = std::move(member);
    });
    return json;
  } else if constexpr (is_optional<T>::value) {
    json = schema_of(typename T::value_type{}, bounds);
    json["type"] = {json["type"], "null"};
  } else if constexpr (std::is_enum_v<T>) {
    json["enum"] = Json::array();
    for (const auto name : EnumNames<T>::names) json["enum"].push_back(std::string(name));
  } else if constexpr (std::is_same_v<T, Betas>) {
    json = {{"type", "array"}, {"minItems", 2}, {"maxItems", 2}, {"items", schema_of(0.0, bounds)}};
  } else {
    json["type"] = std::is_same_v<T, std::string> ? "string" : type_name<T>();
    add_bounds(json, bounds);
  }
  json["default"] = config_detail::member_to_json(value);
  return json;
}

}  // namespace

std::string describe_config() {
  std::string out;
  describe(RunConfig{}, "", out);
  return out;
}

Json config_schema() {
  auto schema = schema_of(RunConfig{}, {});
  schema["properties"]["extends"] = {{"type", "string"}, {"description", "a config to start from"}};
  schema["properties"]["$schema"] = {{"type", "string"}};
  Json out = {{"$schema", "https://json-schema.org/draft/2020-12/schema"},
              {"title", "makemoe config"}};
  out.update(schema);
  return out;
}

}  // namespace moe
