#include "report/markup.h"

#include <gtest/gtest.h>

namespace moe::report {
namespace {

TEST(Markup, TextAndAttributesCanNotBecomeMarkup) {
  EXPECT_EQ(element("p", {{"title", "\"><script>'&"}}, "<script>alert(1)</script> & more").html(),
            "<p title=\"&quot;&gt;&lt;script&gt;&#39;&amp;\">"
            "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more</p>");
}

TEST(Markup, MarkupInsideMarkupIsNotEscapedAgain) {
  EXPECT_EQ(element("b", {}, element("i", {}, "<"), "&").html(), "<b><i>&lt;</i>&amp;</b>");
}

TEST(Markup, WhatXmlDoesNotAllowIsReplaced) {
  EXPECT_EQ(text("a\x01\xFF\x7F\tb\n\xED\xA0\x80 \xC3\xA9").html(),
            "a\uFFFD\uFFFD\uFFFD\tb\n\uFFFD\uFFFD\uFFFD é");
}

TEST(Markup, ATableNamesItselfItsColumnsAndItsRows) {
  const auto html = draw(HtmlTable{"Fi<gures", {"a", "b"}, {{text("x"), text("1")}}}).html();
  EXPECT_NE(html.find("<caption>Fi&lt;gures</caption>"), std::string::npos);
  EXPECT_NE(html.find("<th scope=\"col\">b</th>"), std::string::npos);
  EXPECT_NE(html.find("<th scope=\"row\">x</th><td>1</td>"), std::string::npos);
}

}  // namespace
}  // namespace moe::report
