#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "moe/base/json.h"

namespace moe {

/// Reads the keys of an object one by one, and notes what is wrong with them instead of throwing.
class ConfigFields {
 public:
  explicit ConfigFields(const Json& object) : object_(object) {}

  /// A whole number of at least `least`; 0 where there is a problem. `standard` is for a key that
  /// is not there; without one it is a problem.
  std::int64_t count(const char* key, std::int64_t least,
                     std::optional<std::int64_t> standard = {});
  double number(const char* key, std::optional<double> standard = {});
  bool flag(const char* key, std::optional<bool> standard = {});
  /// Ascending layer numbers; none where the key is not there, or null.
  std::vector<std::int64_t> layers(const char* key);
  /// The value itself, null where it is not there.
  const Json& value(const char* key);
  /// Notes a problem unless the value is `wanted`, null, or not there.
  void require(const char* key, const Json& wanted);
  /// A key whose value changes nothing here.
  void pass_over(const char* key) { read_.insert(key); }

  void add_problem(std::string problem) { problems_.push_back(std::move(problem)); }
  const std::vector<std::string>& problems() const { return problems_; }
  /// Keys that nobody asked for.
  std::vector<std::string> unread() const;

 private:
  bool is_there(const char* key);
  void refuse(const char* key, std::string_view wanted);

  const Json& object_;
  std::set<std::string> read_;
  std::vector<std::string> problems_;
};

}  // namespace moe
