#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace moe::report {

/// HTML or SVG that is well-formed. Only the functions here make it, and they escape: what anyone
/// may have written into a run folder can not become markup (ADR 0015).
class Markup {
 public:
  Markup() = default;
  /// Markup of this program's own; never for what was read.
  static Markup trusted(std::string html);

  const std::string& html() const { return html_; }
  bool empty() const { return html_.empty(); }
  Markup& operator+=(const Markup& other);
  friend Markup operator+(Markup left, const Markup& right) { return left += right; }

 private:
  std::string html_;
};

/// `text` to be read: & < > " ' as references, what XML does not allow as U+FFFD.
Markup text(std::string_view text);
inline const Markup& text(const Markup& markup) { return markup; }

struct Attribute {
  std::string_view name;  // of this program's own
  std::string value;      // any text; the attribute is left out where it is ""
};
using Attributes = std::vector<Attribute>;

namespace detail {
/// `<name attributes>`, or `<name attributes/>` where `is_empty`.
std::string tag(std::string_view name, const Attributes& attributes, bool is_empty);
}  // namespace detail

/// The parts, texts or markup, in an element; text is escaped.
template <class... Parts>
Markup element(std::string_view name, const Attributes& attributes, const Parts&... parts) {
  auto html = detail::tag(name, attributes, /*is_empty=*/false);
  ((html += text(parts).html()), ...);
  html += "</";
  html += name;
  html += ">";
  return Markup::trusted(std::move(html));
}

/// An element of SVG without content.
Markup shape(std::string_view name, const Attributes& attributes);

/// Rows of cells under a row of heads; the first cell of each row names the row. Numbers stand
/// right. `caption` is what a screen reader says first.
struct HtmlTable {
  std::string caption;
  std::vector<std::string> heads;
  std::vector<std::vector<Markup>> rows;
  std::string classes = {};
};
Markup draw(const HtmlTable& table);

/// Folded away until it is asked for; the browser's own, without script.
Markup folded(std::string_view summary, const Markup& content);

}  // namespace moe::report
