#include "moe/base/json.h"

#include <algorithm>
#include <set>
#include <vector>

#include "moe/base/file.h"
#include "moe/base/text.h"

namespace moe {

namespace {

/// Reads without building anything: refuses what is too deep or names a key twice, and keeps the
/// first problem with its place.
class Checker : public nlohmann::json_sax<Json> {
 public:
  explicit Checker(int max_depth) : max_depth_(max_depth) {}

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override { return descend(); }
  bool start_array(std::size_t) override { return descend(); }
  bool end_object() override { return ascend(); }
  bool end_array() override { return ascend(); }
  bool key(string_t& name) override {
    if (keys_.back().insert(name).second) return true;
    problem = cat("the key \"", printable(name), "\" stands twice; remove one");
    return false;
  }
  bool parse_error(std::size_t at, const std::string&, const nlohmann::detail::exception& e) override {
    position = at;
    problem = e.id == 406 ? "a number is beyond the range of a double; write a smaller one"
                          : "this is not JSON; check quotes, commas and brackets here";
    return false;
  }

  std::string problem;
  std::size_t position = 0;  // bytes read when a syntax error was seen; 0 elsewhere

 private:
  bool descend() {
    keys_.emplace_back();
    if (static_cast<int>(keys_.size()) <= max_depth_) return true;
    problem = cat("nested deeper than ", max_depth_, " levels; flatten it");
    return false;
  }
  bool ascend() {
    keys_.pop_back();
    return true;
  }

  int max_depth_;
  std::vector<std::set<std::string>> keys_;
};

std::string place_of(std::string_view text, std::size_t position) {
  if (position == 0) return "";
  const auto before = text.substr(0, std::min(position - 1, text.size()));
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const auto last = before.rfind('\n');
  const auto column = last == std::string_view::npos ? before.size() + 1 : before.size() - last;
  return cat("line ", line, ", column ", column, ": ");
}

[[noreturn]] void refuse(std::string_view where, const std::string& what, ErrorKind kind) {
  throw Error(kind, cat(where, ": ", what));
}

}  // namespace

Json parse_json(std::string_view text, std::string_view where, ErrorKind kind,
                const JsonLimits& limits) {
  if (text.size() > limits.max_bytes)
    refuse(where, cat(text.size(), " bytes of JSON, more than ", limits.max_bytes, "; make it smaller"),
           kind);
  if (text.starts_with("\xEF\xBB\xBF"))
    refuse(where, "begins with a UTF-8 byte-order mark; save it without one", kind);
  Checker checker(limits.max_depth);
  if (!Json::sax_parse(text, &checker))
    refuse(where, place_of(text, checker.position) + checker.problem, kind);
  return Json::parse(text);
}

Json read_json(const std::string& path, ErrorKind kind, const JsonLimits& limits) {
  return parse_json(read_file(path, kind, limits.max_bytes), path, kind, limits);
}

std::string json_text(const Json& value, int indent) {
  return value.dump(indent, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

}  // namespace moe
