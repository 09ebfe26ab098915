#include "moe/sweep/journal.h"

#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <string>
#include <vector>

#include "moe/base/interrupt.h"
#include "tests/sweep/sample.h"

namespace moe::sweep {
namespace {

using test::message_of;
using test::read;
using test::Scratch;
using test::write;
using ::testing::HasSubstr;

// As Optuna 5.0.0 wrote it, NaN and times of Python included.
constexpr const char* kOptunas =
    R"({"op_code":0,"worker_id":"p","study_name":"other","directions":[2]}
{"op_code":4,"worker_id":"p","study_id":0,"datetime_start":"2026-11-23T22:00:00.000000+00:00"}
{"op_code":0,"worker_id":"p","study_name":"s","directions":[1]}
{"op_code":0,"worker_id":"p","study_name":"s","directions":[1]}
{"op_code":4,"worker_id":"p","study_id":1,"datetime_start":"2026-11-23T22:00:00.000000+00:00"}
{"op_code":5,"worker_id":"p","trial_id":1,"param_name":"lr","param_value_internal":0.001,"distribution":"{\"name\":\"FloatDistribution\",\"attributes\":{\"step\":null,\"low\":1e-05,\"high\":0.1,\"log\":true}}"}
{"op_code":7,"worker_id":"p","trial_id":1,"step":0,"intermediate_value":NaN}
{"op_code":7,"worker_id":"p","trial_id":1,"step":5,"intermediate_value":4.5}
{"op_code":8,"worker_id":"p","trial_id":1,"user_attr":{"note":"-Infinity, NaN"}}
{"op_code":99,"worker_id":"p","trial_id":1}
{"op_code":6,"worker_id":"p","trial_id":1,"state":1,"values":[2.0],"datetime_complete":"2026-11-23T22:00:09.000000+00:00"}
{"op_code":6,"worker_id":"p","trial_id":1,"state":3,"values":null,"datetime_complete":"2026-11-23T22:00:10.000000+00:00"}
{"op_code":7,"worker_id":"p","trial_id":1,"step":9,"intermediate_value":1.5}
)";

TEST(Study, ReadsWhatOptunaWrites) {
  Scratch scratch;
  write(scratch / "journal.log", kOptunas);
  JournalReader reader(scratch / "journal.log", "s", Damage::refused);
  reader.refresh();
  ASSERT_EQ(reader.study().trials().size(), 1u);
  const auto& trial = reader.study().trials()[0];
  EXPECT_EQ(trial.id, 1);
  EXPECT_EQ(trial.number, 0);
  EXPECT_EQ(trial.state, TrialState::complete);  // the end that came first stands
  EXPECT_EQ(*trial.value, 2.0);
  EXPECT_EQ(trial.parameters.at("lr").value, 0.001);
  EXPECT_EQ(trial.reported, (std::map<std::int64_t, double>{{5, 4.5}}));
  EXPECT_EQ(trial.user("note"), "-Infinity, NaN");
  EXPECT_EQ(reader.passed_over().count, 1);  // operation 99, of a version that is to come
  EXPECT_EQ(reader.passed_over().first, 10);
}

TEST(Study, ADeletedStudyIsGoneAndIdsGoOn) {
  Study study("s");
  const auto apply = [&](const char* line) {
    study.apply(parse_json(line, "line", ErrorKind::data));
  };
  apply(R"({"op_code":0,"study_name":"s","directions":[1]})");
  apply(R"({"op_code":4,"study_id":0})");
  apply(R"({"op_code":1,"study_id":0})");
  EXPECT_FALSE(study.exists());
  apply(R"({"op_code":0,"study_name":"s","directions":[1]})");
  apply(R"({"op_code":4,"study_id":1})");
  EXPECT_EQ(study.id(), 1);
  EXPECT_EQ(study.trials().at(0).id, 1);
}

TEST(Study, SurvivesLinesOfAnyShape) {
  Study study("s");
  for (const auto* line :
       {"3", "[]", "{}", R"({"op_code":4})", R"({"op_code":0})", R"({"op_code":6,"trial_id":7})",
        R"({"op_code":0,"study_name":"s"})", R"({"op_code":4,"study_id":1,"params":3,"state":77})",
        R"({"op_code":6,"trial_id":1,"state":-1,"values":["x"]})",
        R"({"op_code":9,"trial_id":1,"system_attr":4})"})
    study.apply(parse_json(line, "line", ErrorKind::data));
  EXPECT_EQ(study.trials().size(), 1u);
  EXPECT_EQ(study.trials()[0].state, TrialState::running);
}

struct JournalTest : ::testing::Test {
  Scratch scratch;
  FileLayer files;
  std::filesystem::path path = scratch / "journal.log";

  /// The study is there.
  Journal open() {
    Journal journal(path, "s", "me", files);
    journal.transact([](const Study& study, Operations& operations) {
      if (!study.exists()) operations.create_study("s", Direction::minimize);
    });
    return journal;
  }
  static void begin(const Study&, Operations& operations) {
    operations.create_trial({}, Json::object(), Json::object());
  }
};

TEST_F(JournalTest, ATransactionSeesWhatOthersWrote) {
  auto one = open(), two = open();
  one.transact(begin);
  std::size_t seen = 0;
  two.transact([&](const Study& study, Operations&) { seen = study.trials().size(); });
  EXPECT_EQ(seen, 1u);
  EXPECT_FALSE(std::filesystem::exists(path.string() + ".lock"));
}

TEST_F(JournalTest, ATornLastLineIsCutAtAnyLength) {
  auto journal = open();
  journal.transact(begin);
  const auto whole = read(path);
  const auto last = whole.substr(whole.rfind('\n', whole.size() - 2) + 1);
  for (std::size_t length = 1; length < last.size(); ++length) {
    write(path, whole + last.substr(0, length));
    auto next = open();
    next.transact(begin);
    ASSERT_EQ(next.study().trials().size(), 2u);
    ASSERT_EQ(read(path).substr(0, whole.size()), whole);
  }
}

TEST_F(JournalTest, ReadersLeaveATornLastLineAlone) {
  open().transact(begin);
  const auto whole = read(path);
  write(path, whole + "{\"op_code\":");
  JournalReader reader(path, "s", Damage::refused);
  reader.refresh();
  EXPECT_EQ(reader.study().trials().size(), 1u);
  write(path, whole + "{\"op_code\":4,\"study_id\":0}\n");
  reader.refresh();
  EXPECT_EQ(reader.study().trials().size(), 2u);
}

TEST_F(JournalTest, DamageBeforeTheEndNamesItsLine) {
  open().transact(begin);
  write(path, read(path) + "{\"op_code\":4,\"study\n{}\n");
  EXPECT_THAT(message_of<ResourceError>([&] { open(); }), HasSubstr("entry 3"));
}

TEST_F(JournalTest, AReaderForPeoplePassesDamageOverAndCountsIt) {
  auto journal = open();
  for (int i = 0; i < 3; ++i) journal.transact(begin);
  journal.transact([](const Study&, Operations& operations) {
    operations.finish(2, TrialState::complete, 7.0);
  });
  auto text = read(path);
  const auto second = text.find('\n', text.find('\n') + 1) + 1;  // the creation of trial 1
  ASSERT_EQ(text.substr(second, 12), "{\"op_code\":4");
  text[text.find('\n', second) - 1] = '!';
  write(path, "no JSON\n" + text);
  JournalReader reader(path, "s", Damage::passed_over);
  reader.refresh();
  EXPECT_EQ(reader.passed_over().count, 2);
  EXPECT_EQ(reader.passed_over().first, 1);
  ASSERT_EQ(reader.study().trials().size(), 3u);  // the lost one keeps its number
  EXPECT_EQ(reader.study().trials()[1].state, TrialState::running);
  EXPECT_EQ(*reader.study().trials()[2].value, 7.0);
}

TEST_F(JournalTest, AFolderInItsPlaceIsRefused) {
  std::filesystem::create_directory(path);
  EXPECT_THAT(message_of<ResourceError>([&] { open(); }), HasSubstr("cannot be read"));
}

TEST_F(JournalTest, AShortenedJournalIsRefused) {
  auto journal = open();
  journal.transact(begin);
  write(path, "");
  EXPECT_THAT(message_of<ResourceError>([&] { journal.refresh(); }), HasSubstr("shorter"));
}

TEST_F(JournalTest, AFullDiskLeavesNoPartOfATransactionAndNoLock) {
  open().transact(begin);
  const auto before = read(path);
  FileLayer broken(FaultPlan::parse("short@1+"));
  Journal journal(path, "s", "me", broken);
  EXPECT_THROW(journal.transact(begin), ResourceError);
  EXPECT_EQ(read(path), before);
  EXPECT_FALSE(std::filesystem::exists(path.string() + ".lock"));
}

TEST_F(JournalTest, TheLockOfADeadProcessIsTakenOverAtOnce) {
  const auto child = ::fork();
  if (child == 0) {
    const JournalLock lock(path);
    ::_exit(0);  // no destructor: as by kill -9
  }
  ::waitpid(child, nullptr, 0);
  ASSERT_TRUE(std::filesystem::exists(path.string() + ".lock"));
  const JournalLock lock(path, {.takeover_s = 1e9});  // not by its age
  EXPECT_TRUE(lock.is_mine());
}

TEST_F(JournalTest, OptunasStaleSymlinkIsTakenOverAfterItsTime) {
  open().transact(begin);
  std::filesystem::create_symlink(path, path.string() + ".lock");
  const JournalLock lock(path, {.takeover_s = 0.05});
  EXPECT_TRUE(lock.is_mine());
}

TEST_F(JournalTest, ALongWaitForTheLockSaysWhoHasItAndEndsWithASignal) {
  open().transact(begin);
  std::filesystem::create_symlink(path, path.string() + ".lock");  // as Optuna makes it
  const InterruptFlag flag;
  std::vector<std::string> said;
  const LongWait wait{0.02, [&](const std::string& text) {
                        said.push_back(text);
                        std::raise(SIGTERM);
                      }};
  try {
    const JournalLock lock(path, {.takeover_s = 1e9}, wait);
    FAIL() << "it has the lock";
  } catch (const Interrupted& stopped) {
    EXPECT_EQ(stopped.signal(), SIGTERM);
  }
  ASSERT_EQ(said.size(), 1u);
  EXPECT_THAT(said[0], HasSubstr("which Optuna has"));
}

TEST_F(JournalTest, ATakenOverLockIsNoLongerMineAndNotRemoved) {
  {
    const JournalLock lock(path);
    EXPECT_TRUE(lock.is_mine());
    write(path.string() + ".lock", "another's");
    EXPECT_FALSE(lock.is_mine());
  }
  EXPECT_TRUE(std::filesystem::exists(path.string() + ".lock"));
}

TEST_F(JournalTest, ManyProcessesAtOnceLoseNothing) {
  constexpr int kProcesses = 8, kEach = 50;
  std::vector<pid_t> children;
  for (int i = 0; i < kProcesses; ++i) {
    children.push_back(::fork());
    if (children.back() != 0) continue;
    auto journal = open();
    for (int n = 0; n < kEach; ++n) journal.transact(begin);
    ::_exit(0);
  }
  for (const auto child : children) ::waitpid(child, nullptr, 0);
  JournalReader reader(path, "s", Damage::refused);
  reader.refresh();
  EXPECT_EQ(reader.study().trials().size(), static_cast<std::size_t>(kProcesses * kEach));
}

TEST(Identity, AProcessThatEndedIsGoneAndOneElsewhereMayLive) {
  EXPECT_TRUE(Identity::mine().may_live());
  auto other = Identity::mine();
  other.started -= 1;
  EXPECT_FALSE(other.may_live());
  other.domain = "another machine";
  EXPECT_TRUE(other.may_live());
  EXPECT_EQ(Identity::from_json(other.to_json()), other);
  EXPECT_FALSE(Identity::from_json(parse_json(R"({"host": 3})", "x", ErrorKind::data)));
}

}  // namespace
}  // namespace moe::sweep
