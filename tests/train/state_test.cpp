// state.json: written, read back, and refused when it does not fit.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "moe/base/error.h"
#include "tests/train/tiny_run.h"

namespace moe {
namespace {

using namespace test;

const std::string kWhere = "RUN/checkpoints/step-00000003/state.json";

RunConfig epoch_run() {
  auto config = tiny_run();
  config.data.order = DataOrder::epoch;
  return config;
}

/// state.json of a run after three updates and an evaluation.
Json sound_state() {
  TinyRun run(epoch_run());
  for (int i = 0; i < 3; ++i) train_step(run.state);
  run.state.at.evaluated_step = 2;
  run.state.at.best_step = 2;
  run.state.at.best_val_loss = 0.1 + 0.2;  // no short decimal
  run.state.at.last_val_loss = 1.0 / 3;
  run.state.at.evaluations_without_best = 1;
  return state_to_json(run.state, {"sha", "text"}, 12.5);
}

/// Message of the checkpoint error that reading `json` ends in; "" when it is taken.
std::string refusal_of(const std::function<void(const Json&)>& read, const Json& json) {
  try {
    read(json);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::checkpoint);
    EXPECT_STRNE(error.what(), "");
    return error.what();
  }
  return "";
}

void restore(const Json& json) {
  TinyRun run(epoch_run());
  restore_state(json, kWhere, run.state);
}
void read(const Json& json) { read_facts(json, kWhere); }

using Case = std::pair<std::string, Json>;

/// `sound` with the value at `path` ("/data/drawn") replaced by each of `values`, and left out.
std::vector<Case> spoilt(const Json& sound, const std::string& path,
                         const std::vector<Json>& values) {
  const Json::json_pointer pointer(path);
  std::vector<Case> cases;
  for (const auto& value : values) {
    auto json = sound;
    json.at(pointer) = value;
    cases.emplace_back(path + " = " + value.dump(), std::move(json));
  }
  auto json = sound;
  json.at(pointer.parent_pointer()).erase(pointer.back());
  cases.emplace_back(path + " missing", std::move(json));
  return cases;
}

const std::vector<Json> kNoCount{nullptr,
                                 true,
                                 2.5,
                                 "3",
                                 Json::array({1}),
                                 Json::object(),
                                 -2,
                                 std::numeric_limits<std::int64_t>::min(),
                                 std::numeric_limits<std::uint64_t>::max()};
const std::vector<Json> kNoNumber{true, "1.0", Json::array(), Json::object()};
const std::vector<Json> kNoText{nullptr, 5, Json::array(), Json::object()};
const std::vector<Json> kNoObject{nullptr,       5, "text", Json::array(), Json::array({1, 2}),
                                  Json::object()};

void append(std::vector<Case>& cases, std::vector<Case> more) {
  cases.insert(cases.end(), more.begin(), more.end());
}

std::vector<Case> hostile_states() {
  const auto sound = sound_state();
  std::vector<Case> cases;
  for (const auto& whole : kNoObject) cases.emplace_back("whole = " + whole.dump(), whole);
  for (const auto* key :
       {"step", "tokens", "evaluated_step", "best_step", "evaluations_without_best"})
    append(cases, spoilt(sound, std::string("/") + key, kNoCount));
  for (const auto* key : {"best_val_loss", "last_val_loss"})
    append(cases, spoilt(sound, std::string("/") + key, kNoNumber));
  append(cases, spoilt(sound, "/data", kNoObject));
  for (const auto* key : {"drawn", "epoch", "in_epoch"})
    append(cases, spoilt(sound, std::string("/data/") + key, kNoCount));
  auto beyond = sound;
  beyond["data"]["in_epoch"] = 13;  // of 12 windows
  cases.emplace_back("in_epoch beyond its epoch", beyond);
  beyond["data"]["in_epoch"] = std::int64_t{1} << 40;
  cases.emplace_back("in_epoch far beyond its epoch", beyond);
  return cases;
}

TEST(State, ComesBackFromItsTextAsItWas) {
  const auto sound = sound_state();
  TinyRun run(epoch_run());
  restore_state(parse_json(json_text(sound), kWhere, ErrorKind::checkpoint), kWhere, run.state);
  EXPECT_EQ(state_to_json(run.state, {"sha", "text"}, 12.5), sound);
  EXPECT_EQ(run.state.at.best_val_loss, 0.1 + 0.2);
  const auto facts = read_facts(sound, kWhere);
  EXPECT_EQ(facts.seconds, 12.5);
  EXPECT_EQ(facts.sums.files, "sha");
  EXPECT_EQ(facts.device, run.state.device.str());
  EXPECT_GT(facts.threads, 0);
}

TEST(State, ALossThatWasNeverMeasuredComesBackAsInfinity) {
  TinyRun fresh(epoch_run()), run(epoch_run());
  const auto json = state_to_json(fresh.state, {"sha", "text"}, 0);
  EXPECT_TRUE(json.at("best_val_loss").is_null());
  run.state.at.best_val_loss = run.state.at.last_val_loss = 1;
  restore_state(json, kWhere, run.state);
  EXPECT_EQ(run.state.at.best_val_loss, std::numeric_limits<double>::infinity());
  EXPECT_EQ(run.state.at.last_val_loss, std::numeric_limits<double>::infinity());
}

TEST(State, EqualRunsDifferOnlyUnderTimes) {
  TinyRun a(epoch_run()), b(epoch_run());
  train_step(a.state);
  train_step(b.state);
  auto first = state_to_json(a.state, {"sha", "text"}, 1),
       second = state_to_json(b.state, {"sha", "text"}, 2);
  EXPECT_NE(first, second);
  first.erase("times");
  second.erase("times");
  EXPECT_EQ(first, second);
}

TEST(HostileState, IsRefusedAsACheckpointError) {
  for (const auto& [name, json] : hostile_states())
    EXPECT_NE(refusal_of(restore, json), "") << name;
}

TEST(HostileState, IsNamedWithItsPlaceInTheMessage) {
  for (const auto& [name, json] : hostile_states())
    EXPECT_THAT(refusal_of(restore, json), testing::StartsWith(kWhere)) << name;
}

TEST(HostileState, ACursorThatWouldRunOverIsRefused) {
  auto json = sound_state();
  json["data"]["drawn"] = std::numeric_limits<std::int64_t>::max();
  EXPECT_NE(refusal_of(restore, json), "");
}

TEST(HostileState, FactsAreRefusedAsACheckpointErrorWithTheirPlace) {
  const auto sound = sound_state();
  std::vector<Case> cases;
  for (const auto& whole : kNoObject) cases.emplace_back("whole = " + whole.dump(), whole);
  append(cases, spoilt(sound, "/times", kNoObject));
  append(cases, spoilt(sound, "/times/seconds", kNoNumber));
  append(cases, spoilt(sound, "/data_sha256", kNoText));
  append(cases, spoilt(sound, "/device", kNoText));
  append(cases, spoilt(sound, "/threads", kNoCount));
  for (const auto& [name, json] : cases)
    EXPECT_THAT(refusal_of(read, json), testing::StartsWith(kWhere)) << name;
}

}  // namespace
}  // namespace moe
