#include "src/tracking/mlflow_batch.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "src/tracking/http.h"
#include "src/tracking/mlflow_api.h"

namespace moe::tracking {
namespace {

TEST(MetricBatches, HoldAtMostAThousandMetricsAndLoseNone) {
  std::vector<MetricRow> rows;
  for (int step = 0; step < 700; ++step)
    rows.push_back({step, 0, 0, {{"a", 1}, {"b", 2}, {"c", 3}}});
  rows.push_back({700, 0, 0, {}, {{"wide", std::vector<double>(2500, 0.5)}}});
  const auto batches = metric_batches(rows, {}, 0);
  std::size_t metrics = 0;
  std::int64_t ended = 0;
  for (const auto& batch : batches) {
    EXPECT_LE(batch.metrics.size(), 1000U);
    metrics += batch.metrics.size();
    ended += batch.rows;
  }
  EXPECT_EQ(batches.size(), 5U);
  EXPECT_EQ(metrics, 700U * 3 + 2500);
  EXPECT_EQ(ended, 701);
  EXPECT_EQ(batches[2].after.step, 699) << "the wide row is not there before all of it is";
  EXPECT_EQ(batches[4].after.step, 700);
}

TEST(MlflowText, WhatMlflowWouldStoreAsSomethingElseIsText) {
  EXPECT_EQ(mlflow_value(1.5), Json(1.5));
  EXPECT_EQ(mlflow_value(NAN), Json("NaN"));
  EXPECT_EQ(mlflow_value(INFINITY), Json("Infinity"));
  EXPECT_EQ(mlflow_value(-INFINITY), Json("-Infinity"));
  EXPECT_EQ(mlflow_param(2), "2");
  EXPECT_EQ(mlflow_param(nullptr), "null");
  EXPECT_EQ(mlflow_param(true), "true");
  EXPECT_EQ(mlflow_param("a\"b"), "a\"b");
  EXPECT_EQ(mlflow_param(std::string(6001, 'x')), std::string(6000, 'x'));
  EXPECT_EQ(mlflow_param(std::string(5999, 'x') + "\u00e9"), std::string(5999, 'x'));
}

TEST(MlflowText, NamesAreThoseThatMlflowTakes) {
  EXPECT_EQ(mlflow_name("moe/layer3/load/0"), "moe/layer3/load/0");
  EXPECT_EQ(mlflow_name("a[0]@b=c"), "a_0__b_c");
  EXPECT_EQ(mlflow_name("a//b"), "a/_/b");
  EXPECT_EQ(mlflow_name("../a/./b/"), "__/a/_/b/_");
  EXPECT_EQ(mlflow_name(""), "_");
  EXPECT_EQ(mlflow_name(std::string(300, 'x')).size(), 250U);
}

TEST(HttpAddress, IsTakenApart) {
  const auto address = parse_address("https://me:s%3a@h.example:8443/mlflow/");
  ASSERT_TRUE(address);
  EXPECT_EQ(address->origin, "https://h.example:8443");
  EXPECT_EQ(address->path, "/mlflow");
  EXPECT_EQ(address->user, "me");
  EXPECT_EQ(address->password, "s:");
  for (const auto* uri :
       {"", "h:5000", "sqlite:///a.db", "file:/a", "databricks", "http://", "ftp://h"})
    EXPECT_FALSE(parse_address(uri)) << uri;
}

}  // namespace
}  // namespace moe::tracking
