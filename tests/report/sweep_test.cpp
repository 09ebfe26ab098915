#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "moe/base/text.h"
#include "moe/report/report.h"
#include "moe/sweep/definition.h"
#include "tests/sweep/sample.h"

namespace moe::report {
namespace {

using sweep::TrialState;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kSweep = R"({
  "name": "<lr>",
  "space": {"optim.learning_rate": {"float": [0.001, 0.1], "log": true},
            "model.moe.num_experts": {"choices": [2, 4, 8]},
            "model.n_layer": {"int": [1, 6]}},
  "strategy": {"kind": "random"}, "budget": {"trials": 200}})";

/// A sweep whose trials' value is their number of layers; of ten one is pruned and one fails.
class SweepPage : public testing::Test {
 protected:
  void run(int trials) {
    const auto definition = sweep::test::defined(scratch_, kSweep);
    sweep::open_sweep(dir_, definition, false, files_);
    sweep::Queue queue(dir_, definition, files_);
    for (int i = 0; i < trials; ++i) {
      const auto claim = queue.claim().value();
      const auto layers = claim.point.at("model.n_layer");
      queue.report(claim, {{10, layers + 1}, {20, layers + 0.5}});
      if (i % 10 == 3)
        queue.finish(claim, {TrialState::pruned, layers + 0.5, "", 0});
      else if (i % 10 == 7)
        queue.finish(claim, {TrialState::failed, std::nullopt, "memory: <it> ran out", 6});
      else
        queue.finish(claim, {TrialState::complete, layers, "", 0});
    }
  }
  moe::test::Scratch scratch_;
  FileLayer files_;
  fs::path dir_ = scratch_ / "sweep";
};

TEST_F(SweepPage, ShowsStandingLeadersAndWhatMatters) {
  run(40);
  const auto page = page_of({dir_});
  EXPECT_THAT(page, AllOf(HasSubstr("Sweep &lt;lr&gt;"),
                          HasSubstr("32 complete, 4 pruned, 4 failed"), HasSubstr("Best so far"),
                          HasSubstr("memory: &lt;it&gt; ran out"), Not(HasSubstr("<it>"))));
  const auto importance = page.substr(page.find("<caption>Importance"));
  EXPECT_LT(importance.find("model.n_layer"), importance.find("optim.learning_rate"));
  EXPECT_LT(importance.find("model.n_layer"), importance.find("model.moe.num_experts"));
}

TEST_F(SweepPage, OfASweepThatHasJustBegunSaysThatThereIsNothingYet) {
  run(0);
  EXPECT_THAT(page_of({dir_}), HasSubstr("No trial is complete yet."));
}

TEST_F(SweepPage, ATrialIsALinkWhereItHasAReport) {
  run(2);
  EXPECT_THAT(page_of({dir_}), Not(HasSubstr("trials/00000/report.html")));
  fs::create_directories(dir_ / "trials/00000");
  sweep::test::write(dir_ / "trials/00000/report.html", "");
  EXPECT_THAT(page_of({dir_}), HasSubstr("<a href=\"trials/00000/report.html\">0</a>"));
}

TEST_F(SweepPage, OfTwoHundredTrialsIsUnderThreeMegabytes) {
  run(200);
  EXPECT_LT(page_of({dir_}).size(), 3000000U);
}

}  // namespace
}  // namespace moe::report
