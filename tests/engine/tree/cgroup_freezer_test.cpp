// Both freezers on real cgroups; skipped where they cannot be made.
#include "engine/tree/cgroup_freezer.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "engine/tree/frozen_tree.h"
#include "tests/support/checkpoint_test.h"
#include "tests/support/child_process.h"
#include "tests/support/scratch.h"

namespace ncr {
namespace {

struct Version {
  const char* name;
  std::vector<const char*> roots;
  const char* file;
  const char* freeze;
  const char* thaw;
  const char* events_file;
  const char* frozen;
};

const Version kVersions[] = {
    {"v1",
     {"/sys/fs/cgroup/freezer"},
     "freezer.state",
     "FROZEN",
     "THAWED",
     "freezer.state",
     "FROZEN"},
    {"v2",
     {"/sys/fs/cgroup/unified", "/sys/fs/cgroup"},
     "cgroup.freeze",
     "1",
     "0",
     "cgroup.events",
     "frozen 1"},
};

class CgroupFreezerTest : public testing::TestWithParam<Version> {
 protected:
  void SetUp() override {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    for (const char* root : GetParam().roots) {
      cgroup_ = strf("%s/ncr-test-%d", root, ::getpid());
      std::error_code error;
      if (std::filesystem::create_directory(cgroup_, error) &&
          test::file_exists(file(GetParam().file)))
        return;
      std::filesystem::remove(cgroup_, error);
    }
    GTEST_SKIP() << "no writable cgroup " << GetParam().name;
  }
  void TearDown() override {
    if (!test::file_exists(file("cgroup.procs"))) return;
    put(GetParam().thaw);
    test::kill_descendants();
    ::rmdir(cgroup_.c_str());
  }

  std::string file(const char* name) const { return cgroup_ + "/" + name; }
  void put(const char* state) { test::append_to(file(GetParam().file), state); }
  bool frozen() {
    return test::file_text(file(GetParam().events_file)).find(GetParam().frozen) !=
           std::string::npos;
  }
  bool becomes(bool wanted) {
    for (int i = 0; i < 2000; i++) {
      if (frozen() == wanted) return true;
      ::usleep(1000);
    }
    return false;
  }

  // A process in the cgroup that counts in a file.
  pid_t spawn_counter() {
    std::fflush(nullptr);
    pid_t pid = ::fork();
    if (pid != 0) return pid;
    test::append_to(file("cgroup.procs"), std::to_string(::getpid()));
    for (;;) {
      test::append_to(scratch_.file("beats"), ".");
      if (::fork() == 0) ::_exit(0);
      ::wait(nullptr);
    }
  }
  bool beats_on() {
    const size_t before = test::file_text(scratch_.file("beats")).size();
    for (int i = 0; i < 2000; i++) {
      if (test::file_text(scratch_.file("beats")).size() > before) return true;
      ::usleep(1000);
    }
    return false;
  }

  DumpRequest request(pid_t pid) {
    DumpRequest dump;
    dump.pid = pid;
    dump.freeze_cgroup = cgroup_;
    return dump;
  }

  std::string cgroup_;
  test::Scratch scratch_;
};

TEST_P(CgroupFreezerTest, a_tree_frozen_through_it_runs_on_after) {
  pid_t pid = spawn_counter();
  ASSERT_TRUE(beats_on());
  for (int i = 0; i < 20; i++) {
    FrozenTree tree = MUST(FrozenTree::freeze(request(pid)));
    MUST(tree.finish(FinalState::kRun));
    EXPECT_TRUE(becomes(false));
    EXPECT_TRUE(beats_on());
  }
}

TEST_P(CgroupFreezerTest, one_found_frozen_is_frozen_again_after) {
  pid_t pid = spawn_counter();
  ASSERT_TRUE(beats_on());
  put(GetParam().freeze);
  ASSERT_TRUE(becomes(true));
  const std::string beats = test::file_text(scratch_.file("beats"));
  for (int i = 0; i < 3; i++) {
    FrozenTree tree = MUST(FrozenTree::freeze(request(pid)));
    EXPECT_GE(tree.tasks()[0].threads.size(), 1u);
    if (i > 0) MUST(tree.finish(FinalState::kRun));
  }
  EXPECT_TRUE(becomes(true));
  EXPECT_EQ(test::file_text(scratch_.file("beats")), beats);
  Result<proc::Status> status = proc::parse_status(test::file_text(strf("/proc/%d/status", pid)));
  EXPECT_EQ(MUST(std::move(status)).tracer_pid, 0);
  put(GetParam().thaw);
  EXPECT_TRUE(beats_on());
}

TEST_P(CgroupFreezerTest, a_frozen_tree_can_be_killed) {
  pid_t pid = spawn_counter();
  ASSERT_TRUE(beats_on());
  put(GetParam().freeze);
  ASSERT_TRUE(becomes(true));
  FrozenTree tree = MUST(FrozenTree::freeze(request(pid)));
  MUST(tree.finish(FinalState::kKill));
  EXPECT_EQ(::waitpid(pid, nullptr, WNOHANG), pid);
}

TEST_P(CgroupFreezerTest, refuses_the_one_we_are_in) {
  pid_t pid = ::fork();
  if (pid == 0) {
    test::append_to(file("cgroup.procs"), std::to_string(::getpid()));
    Result<CgroupFreezer> freezer = CgroupFreezer::open(cgroup_);
    ::_exit(!freezer.ok() && freezer.error().code() == ErrorCode::kUsage ? 0 : 1);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST(cgroup_freezer, refuses_what_is_no_cgroup) {
  EXPECT_EQ(CgroupFreezer::open("/tmp").error().code(), ErrorCode::kUsage);
  EXPECT_FALSE(CgroupFreezer::open("/does/not/exist").ok());
}

INSTANTIATE_TEST_SUITE_P(Versions, CgroupFreezerTest, testing::ValuesIn(kVersions),
                         [](const auto& version) { return std::string(version.param.name); });

}  // namespace
}  // namespace ncr
