#include "report/markup.h"

#include "moe/base/text.h"

namespace moe::report {

namespace {

void append_escaped(std::string& out, std::string_view text) {
  for (const char c : clean_utf8(text)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
}

}  // namespace

Markup Markup::trusted(std::string html) {
  Markup out;
  out.html_ = std::move(html);
  return out;
}

Markup& Markup::operator+=(const Markup& other) {
  html_ += other.html_;
  return *this;
}

Markup text(std::string_view text) {
  std::string out;
  append_escaped(out, text);
  return Markup::trusted(std::move(out));
}

std::string detail::tag(std::string_view name, const Attributes& attributes, bool is_empty) {
  auto out = cat("<", name);
  for (const auto& [key, value] : attributes) {
    if (value.empty()) continue;
    out += cat(" ", key, "=\"");
    append_escaped(out, value);
    out += '"';
  }
  return out + (is_empty ? "/>" : ">");
}

Markup shape(std::string_view name, const Attributes& attributes) {
  return Markup::trusted(detail::tag(name, attributes, /*is_empty=*/true));
}

Markup draw(const HtmlTable& table) {
  Markup head, body;
  for (const auto& name : table.heads) head += element("th", {{"scope", "col"}}, name);
  for (const auto& row : table.rows) {
    Markup cells;
    for (std::size_t i = 0; i < row.size(); ++i)
      cells += i == 0 ? element("th", {{"scope", "row"}}, row[i]) : element("td", {}, row[i]);
    body += element("tr", {}, cells);
  }
  const auto drawn =
      element("table", {{"class", table.classes}}, element("caption", {}, table.caption),
              element("thead", {}, element("tr", {}, head)), element("tbody", {}, body));
  // What is wider than the page scrolls by itself, with the keyboard too.
  return element(
      "div",
      {{"class", "scroll"}, {"role", "region"}, {"tabindex", "0"}, {"aria-label", table.caption}},
      drawn);
}

Markup folded(std::string_view summary, const Markup& content) {
  return element("details", {}, element("summary", {}, summary), content);
}

}  // namespace moe::report
