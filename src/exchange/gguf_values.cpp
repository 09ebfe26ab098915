#include "exchange/gguf_values.h"

#include "moe/base/text.h"

namespace moe {

namespace {

template <class T>
inline constexpr bool is_whole_type = std::is_integral_v<T> && !std::is_same_v<T, bool>;

/// nullopt for what is no whole number, or none of 64 bits with a sign.
std::optional<std::int64_t> whole_of(const GgufValue& value) {
  return std::visit(
      []<class T>(const T& held) -> std::optional<std::int64_t> {
        if constexpr (is_whole_type<T>) {
          if (std::in_range<std::int64_t>(held)) return static_cast<std::int64_t>(held);
        }
        return std::nullopt;
      },
      value);
}

}  // namespace

void GgufValues::refuse(const std::string& key, const std::string& what) const {
  throw CheckpointError(cat(where_, ": ", key, " ", what,
                            "; take a file that llama.cpp runs, of a model that makemoe has"));
}

std::optional<std::string> GgufValues::text(const std::string& key) const {
  const auto* value = keys_.find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* held = std::get_if<std::string>(value)) return *held;
  refuse(key, "is no text");
}

std::optional<std::int64_t> GgufValues::whole(const std::string& key) const {
  const auto* value = keys_.find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto held = whole_of(*value)) return held;
  refuse(key, "is no whole number, the same for all layers");
}

std::optional<double> GgufValues::number(const std::string& key) const {
  const auto* value = keys_.find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* held = std::get_if<float>(value)) return *held;
  if (const auto* held = std::get_if<double>(value)) return *held;
  if (const auto held = whole_of(*value)) return static_cast<double>(*held);
  refuse(key, "is no number");
}

std::optional<bool> GgufValues::flag(const std::string& key) const {
  const auto* value = keys_.find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* held = std::get_if<bool>(value)) return *held;
  refuse(key, "is neither true nor false");
}

const std::vector<std::string>* GgufValues::texts(const std::string& key) const {
  const auto* value = keys_.find(key);
  if (value == nullptr) return nullptr;
  if (const auto* list = std::get_if<GgufList>(value))
    if (const auto* held = std::get_if<std::vector<std::string>>(list)) return held;
  refuse(key, "is no list of texts");
}

std::optional<std::vector<std::int64_t>> GgufValues::wholes(const std::string& key) const {
  const auto* value = keys_.find(key);
  if (value == nullptr) return std::nullopt;
  const auto* list = std::get_if<GgufList>(value);
  if (list == nullptr) refuse(key, "is no list");
  return std::visit(
      [&]<class T>(const T& held) -> std::vector<std::int64_t> {
        if constexpr (!std::is_same_v<T, std::monostate>) {
          if constexpr (is_whole_type<typename T::value_type>)
            return std::vector<std::int64_t>(held.begin(), held.end());
        }
        refuse(key, "is no list of whole numbers");
      },
      *list);
}

}  // namespace moe
