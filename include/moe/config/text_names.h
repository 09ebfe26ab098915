#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moe {

/// The texts that a key names, each a file, a folder or a pattern (moe/data/sources.h). One is a
/// string in JSON, several are a list; "" and an empty list are none.
class TextNames {
 public:
  TextNames() = default;
  TextNames(std::string name) {  // NOLINT: one name is what most keys hold
    if (!name.empty()) names_.push_back(std::move(name));
  }
  TextNames(const char* name) : TextNames(std::string(name)) {}  // NOLINT: likewise
  /// None of the names is empty.
  explicit TextNames(std::vector<std::string> names) : names_(std::move(names)) {}

  bool empty() const { return names_.empty(); }
  const std::vector<std::string>& all() const { return names_; }
  std::vector<std::string>& all() { return names_; }
  /// For a message: the name, of several the first and how many more; "" for none.
  std::string shown() const;
  friend bool operator==(const TextNames&, const TextNames&) = default;

 private:
  std::vector<std::string> names_;
};

}  // namespace moe
