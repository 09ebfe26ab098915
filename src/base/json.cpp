#include "moe/base/json.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <iterator>
#include <set>
#include <stdexcept>
#include <utility>
#include <vector>

#include "moe/base/file.h"
#include "moe/base/text.h"

namespace moe {

namespace {

/// Walks over the text and counts the bytes read: the parser tells the place of syntax errors only.
struct CountingIterator {
  // NOLINTBEGIN(readability-identifier-naming): the names that std::iterator_traits asks for
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;
  // NOLINTEND(readability-identifier-naming)

  const char* at;
  std::size_t* count;

  reference operator*() const { return *at; }
  CountingIterator& operator++() {
    ++at;
    ++*count;
    return *this;
  }
  CountingIterator operator++(int) {
    const auto before = *this;
    ++*this;
    return before;
  }
  bool operator==(const CountingIterator& other) const { return at == other.at; }
  bool operator!=(const CountingIterator& other) const { return at != other.at; }
};

/// What a person should know of nlohmann's syntax error: its id and text, the number it stopped at
/// (its tokens of other kinds begin anywhere before), and the text from the offending byte on.
std::string explain(int id, std::string_view error, std::string_view number,
                    std::string_view rest) {
  const auto says = [&](std::string_view part) { return error.find(part) != error.npos; };
  if (id == 406)
    return cat(printable(number), " is beyond the range of a double; write a smaller one");
  if (says("unexpected end of input") || says("missing closing quote"))
    return "the text ends too early; it may have been cut off";
  if (says("ill-formed UTF-8")) return "invalid UTF-8; save the text as UTF-8";
  if (rest.starts_with('/') || rest.starts_with('#')) return "comments are not JSON; remove it";
  if (rest.starts_with("NaN") || rest.starts_with("Inf"))
    return "NaN and infinity are not JSON; write a number";
  if (says("; expected end of input")) return "something follows the JSON value; remove it";
  return cat("\"", printable(rest.substr(0, 1)),
             "\" does not belong here; check quotes, commas and brackets");
}

std::string place_of(std::string_view text, std::size_t position) {
  const auto before = text.substr(0, position > 0 ? position - 1 : 0);
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const auto last = before.rfind('\n');
  const auto column = last == std::string_view::npos ? before.size() + 1 : before.size() - last;
  return cat("line ", line, ", column ", column, ": ");
}

/// Reads without building anything: refuses what is too deep or names a key twice, and keeps the
/// first problem with its place. Where `twice` is given, keys that stand twice are noted there
/// instead.
class Checker : public nlohmann::json_sax<Json> {
 public:
  Checker(std::string_view text, int max_depth, const std::size_t& bytes_read,
          std::vector<std::string>* twice)
      : text_(text), max_depth_(max_depth), bytes_read_(bytes_read), twice_(twice) {}

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
    auto problem = cat("the key \"", printable(name), "\" stands twice; remove one");
    if (twice_ == nullptr) return stop(bytes_read_, std::move(problem));
    twice_->push_back(place_of(text_, bytes_read_) + problem);
    return true;
  }
  bool parse_error(std::size_t at, const std::string& token,
                   const nlohmann::detail::exception& error) override {
    const auto before = std::min(at > 0 ? at - 1 : 0, text_.size());
    return stop(at, explain(error.id, error.what(), token, text_.substr(before)));
  }

  const std::string& problem() const { return problem_; }
  std::size_t position() const { return position_; }  // of the offending byte, from 1

 private:
  bool descend() {
    keys_.emplace_back();
    if (static_cast<int>(keys_.size()) <= max_depth_) return true;
    return stop(bytes_read_, cat("nested deeper than ", max_depth_, " levels; flatten it"));
  }
  bool ascend() {
    keys_.pop_back();
    return true;
  }
  bool stop(std::size_t at, std::string problem) {
    position_ = at;
    problem_ = std::move(problem);
    return false;
  }

  std::string_view text_;
  int max_depth_;
  const std::size_t& bytes_read_;
  std::vector<std::string>* twice_;
  std::vector<std::set<std::string>> keys_;
  std::string problem_;
  std::size_t position_ = 0;
};

/// Builds the tree of a checked text. Json::parse would look for each new key among all earlier
/// ones of its object, which takes minutes for the million keys that fit into the byte limit.
// NOLINTNEXTLINE(bugprone-exception-escape): a failed allocation is main's to report
class Builder : public nlohmann::json_sax<Json> {
 public:
  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t& value) override { return add(std::move(value)); }
  bool start_object(std::size_t) override { return open(Json::object()); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    key_ = std::move(name);
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override {
    return false;
  }

  Json root;

 private:
  Json& place(Json value) {
    if (open_.empty()) return root = std::move(value);
    auto& parent = *open_.back();
    if (parent.is_array()) return parent.get_ref<Json::array_t&>().emplace_back(std::move(value));
    // The vector's own emplace_back: ordered_map's emplace is the slow look for the key.
    std::vector<Json::object_t::value_type>& members = parent.get_ref<Json::object_t&>();
    return members.emplace_back(std::move(key_), std::move(value)).second;
  }
  bool add(Json value) {
    place(std::move(value));
    return true;
  }
  bool open(Json container) {
    open_.push_back(&place(std::move(container)));
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  std::string key_;
  std::vector<Json*> open_;  // only the last one grows, so that the others stay where they are
};

[[noreturn]] void refuse(std::string_view where, const std::string& what, ErrorKind kind) {
  throw_error(kind, cat(where, ": ", what));
}

bool has_nonfinite(const Json& value) {
  if (value.is_number_float()) return !std::isfinite(value.get<double>());
  if (!value.is_structured()) return false;
  return std::any_of(value.begin(), value.end(), has_nonfinite);
}

}  // namespace

Json parse_json(std::string_view text, std::string_view where, ErrorKind kind,
                const JsonLimits& limits, std::vector<std::string>* twice) {
  if (text.size() > limits.max_bytes)
    refuse(where,
           cat(text.size(), " bytes of JSON, more than ", limits.max_bytes, "; make it smaller"),
           kind);
  if (text.starts_with("\xEF\xBB\xBF"))
    refuse(where,
           "line 1, column 1: begins with a UTF-8 byte-order mark (BOM); save it without one",
           kind);
  std::size_t bytes_read = 0;
  Checker checker(text, limits.max_depth, bytes_read, twice);
  const CountingIterator first{text.data(), &bytes_read};
  const CountingIterator last{text.data() + text.size(), &bytes_read};
  if (!Json::sax_parse(first, last, &checker))
    refuse(where, place_of(text, checker.position()) + checker.problem(), kind);
  Builder builder;
  if (!Json::sax_parse(text, &builder)) throw std::logic_error("checked JSON does not parse");
  return std::move(builder.root);
}

Json read_json(const std::string& path, ErrorKind kind, const JsonLimits& limits,
               std::vector<std::string>* twice) {
  return parse_json(read_file(path, kind, limits.max_bytes), path, kind, limits, twice);
}

std::string shown(const Json& value) { return printable(json_text(value), 60, Quotes::kept); }

std::int64_t json_integer(const Json& object, const std::string& key, std::int64_t least,
                          std::string_view where, std::string_view remedy, ErrorKind kind) {
  const auto refuse_key = [&](std::string_view what) {
    refuse(where, cat("\"", key, "\" ", what, "; ", remedy), kind);
  };
  if (!object.is_object() || !object.contains(key)) refuse_key("is missing");
  const auto& value = object.at(key);
  const bool fits = value.is_number_unsigned()
                        ? value.get<std::uint64_t>() <= std::uint64_t{INT64_MAX}
                        : value.is_number_integer();
  if (!fits) refuse_key(cat("is ", shown(value), ", no whole number"));
  const auto number = value.get<std::int64_t>();
  if (number < least) refuse_key(cat("is ", number, ", at least ", least, " is expected"));
  return number;
}

std::string json_text(const Json& value, int indent) {
  // nlohmann would write null, which reads back as another thing.
  if (has_nonfinite(value)) throw std::logic_error("json_text: NaN or infinity in the value");
  return value.dump(indent, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

}  // namespace moe
