#include "moe/config/load.h"
#include "moe/config/visit.h"

namespace moe {

namespace {

void add_bounds(Json& json, const Bounds& bounds) {
  if (bounds.min) json["minimum"] = *bounds.min;
  if (bounds.max) json["maximum"] = *bounds.max;
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
  } else if constexpr (is_list<T>::value) {
    using Element = typename T::value_type;
    auto element = schema_of(Element{}, bounds);
    if constexpr (Section<Element>)  // one object stands for a list of it
      json["anyOf"] = {{{"type", "array"}, {"items", element}}, element};
    else
      json = {{"type", "array"}, {"items", element}};
  } else if constexpr (std::is_enum_v<T>) {
    json["enum"] = Json::array();
    for (const auto name : EnumNames<T>::names) json["enum"].push_back(std::string(name));
  } else if constexpr (std::is_same_v<T, TextNames>) {
    json["anyOf"] = {{{"type", "string"}},
                     {{"type", "array"}, {"items", {{"type", "string"}, {"minLength", 1}}}}};
  } else if constexpr (std::is_same_v<T, Betas>) {
    json = {{"type", "array"}, {"minItems", 2}, {"maxItems", 2}, {"items", schema_of(0.0, bounds)}};
  } else {
    json["type"] = std::is_same_v<T, std::string> ? "string" : config_detail::type_name<T>();
    add_bounds(json, bounds);
  }
  json["default"] = config_detail::member_to_json(value);
  return json;
}

}  // namespace

std::string describe_config() {
  std::string out;
  config_detail::describe(RunConfig{}, "", out);
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
