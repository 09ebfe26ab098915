#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "moe/base/json.h"
#include "moe/base/text.h"
#include "moe/report/report.h"
#include "tests/base/scratch.h"

namespace moe::report {
namespace {

using test::Scratch;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

void write(const fs::path& file, const std::string& text) {
  fs::create_directories(file.parent_path());
  std::ofstream(file, std::ios::binary) << text;
}

std::string evaluation(int step, double val) {
  return cat(R"({"step":)", step, R"(,"time_s":1.0,"tokens":64,"train/loss":)", val - 0.5,
             R"(,"val/loss":)", val, R"(,"moe/layer0/load":[0.999,0.001]})", "\n");
}

class Page : public testing::Test {
 protected:
  fs::path make_run(const std::string& name, const std::string& metrics) {
    const auto run = scratch_.path() / name;
    write(run / "metrics.jsonl", metrics);
    return run;
  }
  Scratch scratch_;
};

TEST_F(Page, SaysWhereToHaveStopped) {
  const auto run = make_run("a", evaluation(0, 4) + evaluation(10, 2.25) + evaluation(1020, 3));
  EXPECT_THAT(page_of({run}), AllOf(HasSubstr("lowest at step 10, 2.2500"),
                                    HasSubstr("1,010 steps after it did not pay"),
                                    HasSubstr("dead: less than 1 %")));
  const auto falling = make_run("b", evaluation(0, 4) + evaluation(10, 2.25));
  EXPECT_THAT(page_of({falling}), HasSubstr("more steps may lower it further"));
}

TEST_F(Page, WhatIsMissingOrDamagedIsSaidAndTheRestIsShown) {
  const auto run = make_run("a", "nonsense\n{\"step\":1,\"val/loss\":NaN}\n" + evaluation(5, 2.5) +
                                     "{\"step\":6,\"val/lo");
  write(run / "config.json", "{\"seed\": 1");
  write(run / "routing.json", R"({"symbols":["a"],"layers":[{"symbol_map":[["x"]]},7,null]})");
  write(run / "samples.jsonl",
        "{\"step\":3,\"text\":\"a sound sample\"}\n{\"step\":4}\n{\"text\":1}\n{\"st");
  EXPECT_THAT(page_of({run}),
              AllOf(HasSubstr("config.json does not read"), HasSubstr("run.json is missing"),
                    HasSubstr("2.5000"), HasSubstr("a sound sample")));
  EXPECT_THAT(page_of({make_run("empty", "")}), HasSubstr("metrics.jsonl has no rows"));
}

TEST_F(Page, ViewsThatWereSavedAreShownWithTheirStep) {
  const auto run = make_run("a", evaluation(0, 4));
  write(run / "inspect/ablation.json",
        R"({"step":1500,"split":"val","windows":8,"ablation":{"loss":1.5,
           "classes":[{"class":"space"},{"class":"newline"}],"layers":[
           {"masked":[0.25,null],"zeroed":[-0.5,0],"masked_by_class":[[0.125,0.75],[null,null]]}]}})");
  write(run / "inspect/depth.json",
        R"({"step":1500,"depth":{"embedding":3,"layers":[{"attention":2.5,"mixture":2,
           "attention_gain":0.5,"mixture_gain":0.5}]}})");
  write(run / "inspect/top_k_sweep.json",
        R"({"step":1500,"top_k_sweep":{"top_k":2,"losses":[1.75,1.5,1.625]}})");
  EXPECT_THAT(page_of({run}),
              AllOf(HasSubstr("Step 1,500, split val, 8 windows."), HasSubstr("+0.2500"),
                    HasSubstr("-0.5000"), HasSubstr("newline +0.7500"), Not(HasSubstr("space +")),
                    HasSubstr("2 (trained)"), HasSubstr("Loss by depth"),
                    Not(HasSubstr("Saturation of the routing"))));
}

TEST_F(Page, OfViewsThatHoldAnythingElseNothingIsShown) {
  const auto run = make_run("a", evaluation(0, 4));
  const auto without = page_of({run});
  write(run / "inspect/ablation.json", R"({"ablation":{"classes":[1,{"class":2}],
      "layers":[{"masked":3,"masked_by_class":7},7,null]}})");
  write(run / "inspect/information.json", R"({"information":[1]})");
  write(run / "inspect/saturation.json", R"({"saturation":{"checkpoints":"</script>"}})");
  write(run / "inspect/other.json", R"({"other":1})");
  EXPECT_EQ(page_of({run}), without);
}

TEST_F(Page, NothingThatWasReadBecomesMarkup) {
  const std::string evil = "</pre><script>alert(1)</script>\"'&";
  const auto run = make_run("a<b>\"'&", evaluation(0, 4));
  const auto quoted = json_text(Json(evil));
  write(run / "samples.jsonl", cat(R"({"step":0,"text":)", quoted, "}\n"));
  write(run / "config.json", cat("{", quoted, ": ", quoted, "}"));
  write(run / "run.json", cat(R"({"status": )", quoted, R"(, "device": )", quoted, "}"));
  write(run / "routing.json",
        cat(R"({"symbols":[)", quoted, R"(],"layers":[{"symbol_map":[[3],[1]]}]})"));
  const auto page = page_of({run});
  EXPECT_THAT(page, Not(HasSubstr("<script")));
  EXPECT_EQ(page.find("</pre>"), page.rfind("</pre>")) << "of one sample one end";
  EXPECT_THAT(page, HasSubstr("&lt;script&gt;alert(1)&lt;/script&gt;"));
}

TEST_F(Page, DifferencesBetweenConfigsAreMarked) {
  const auto a = make_run("a", evaluation(0, 4)), b = make_run("b", evaluation(0, 3));
  write(a / "config.json", R"({"seed": 1, "model": {"n_layer": 2}})");
  write(b / "config.json", R"({"seed": 1, "model": {"n_layer": 3}})");
  const auto page = page_of({a, b});
  const auto differing = page.substr(page.find("Keys in which the runs differ"));
  const auto table = differing.substr(0, differing.find("</table>"));
  EXPECT_THAT(table, AllOf(HasSubstr("model.n_layer"), HasSubstr("<mark><code>3</code></mark>"),
                           Not(HasSubstr("seed"))));
}

TEST_F(Page, IsTheSameForTheSameFiles) {
  const auto run = make_run("a", evaluation(0, 4) + evaluation(10, 2));
  EXPECT_EQ(page_of({run}), page_of({run}));
}

TEST_F(Page, AFolderThatIsNoRunIsRefused) {
  fs::create_directories(scratch_.path() / "empty");
  EXPECT_THROW(page_of({scratch_.path() / "empty"}), ResourceError);
  EXPECT_THROW(page_of({scratch_.path() / "absent"}), ResourceError);
}

TEST_F(Page, ManyRowsAndLayersMakeASmallPage) {
  std::string metrics;
  for (int step = 0; step < 5000; ++step) {
    metrics +=
        cat(R"({"step":)", step, R"(,"train/step_loss":2.5,"val/loss":)", 2 + 1.0 / (step + 1));
    for (int layer = 0; layer < 8; ++layer)
      metrics += cat(R"(,"moe/layer)", layer, R"(/load":[0.1,0.2,0.3,0.1,0.05,0.05,0.1,0.1])");
    metrics += "}\n";
  }
  EXPECT_LT(page_of({make_run("long", metrics)}).size(), 400000U);
}

TEST_F(Page, RunsOfOneNameAreToldApartByTheirPaths) {
  const auto page = page_of({make_run("x/a", evaluation(0, 4)), make_run("y/a", evaluation(0, 3))});
  EXPECT_THAT(page, AllOf(HasSubstr("x/a"), HasSubstr("y/a")));
}

TEST_F(Page, GoesIntoTheRunAndOfSeveralIntoTheCurrentFolder) {
  EXPECT_EQ(default_file({"runs/a"}), fs::path("runs/a/report.html"));
  EXPECT_EQ(default_file({"runs/a", "runs/b"}), fs::path("report.html"));
}

}  // namespace
}  // namespace moe::report
