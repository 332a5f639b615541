// A restore either succeeds whole or leaves nothing behind.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <fstream>

#include "engine/request.h"
#include "tests/support/checkpoint_test.h"
#include "tests/support/child_process.h"
#include "tests/support/scratch.h"

namespace ncr {
namespace {

struct Born {
  int index;
  pid_t pid;
};

void announce(int ready, int index) {
  Born born{index, ::getpid()};
  (void)!::write(ready, &born, sizeof born);
}

[[noreturn]] void close_and_rest() {
  ::close_range(3, ~0u, 0);
  for (;;) ::pause();
}

// A root with two children and a grandchild of its own session, nothing open but /dev/null and one
// file.
class fault_restore : public testing::Test {
 protected:
  fault_restore() {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    std::ofstream(scratch_.file("data")) << "data";
    int ready[2];
    EXPECT_EQ(::pipe(ready), 0);
    root_ = ::fork();
    if (root_ == 0) live(ready[1]);
    ::close(ready[1]);
    Born born;  // until nobody holds the other end any more
    while (::read(ready[0], &born, sizeof born) == static_cast<ssize_t>(sizeof born))
      pids_[born.index] = born.pid;
    ::close(ready[0]);
    request_.images_dir = scratch_.file("image");
  }
  ~fault_restore() override { test::kill_descendants(); }

  [[noreturn]] void live(int ready) {
    ::setsid();
    int null = ::open("/dev/null", O_RDWR);
    int data = ::open(scratch_.file("data").c_str(), O_RDONLY);
    for (int number : {0, 1}) ::dup2(null, number);
    ::dup2(data, 2);
    announce(ready, 0);
    if (::fork() == 0) announce(ready, 1), close_and_rest();
    if (::fork() == 0) {
      announce(ready, 2);
      ::setsid();
      if (::fork() == 0) announce(ready, 3);
    }
    close_and_rest();
  }

  void dump_and_collect(FinalState final_state = FinalState::kKill) {
    DumpRequest request;
    request.pid = root_;
    request.images_dir = request_.images_dir;
    request.final_state = final_state;
    Result<DumpReport> report = dump(request);
    ASSERT_TRUE(report.ok()) << report.error().text();
    const int expected = final_state == FinalState::kKill ? 0 : 4;
    ASSERT_EQ(left_after_patience(expected), expected);
  }

  int left() const {
    int left = 0;
    for (pid_t pid : pids_) left += ::kill(pid, 0) == 0 ? 1 : 0;
    return left;
  }
  // Until so many processes of the tree are there, or two seconds.
  int left_after_patience(int wanted) {
    for (int tries = 0; tries < 400; tries++) {
      test::collect_zombies();
      if (left() == wanted) break;
      ::usleep(5000);
    }
    return left();
  }
  static char state_of(pid_t pid) {
    std::string stat = test::file_text(strf("/proc/%d/stat", pid));
    size_t at = stat.rfind(')');
    return at == std::string::npos ? '?' : stat[at + 2];
  }

  test::Scratch scratch_;
  pid_t root_ = 0;
  pid_t pids_[4] = {};
  RestoreRequest request_;
};

TEST_F(fault_restore, a_tree_comes_back_as_our_child) {
  dump_and_collect();
  Result<RestoreReport> report = restore(request_);
  ASSERT_TRUE(report.ok()) << report.error().text();
  EXPECT_EQ(report.value().root_pid, root_);
  EXPECT_EQ(report.value().tasks, 4u);
  EXPECT_EQ(report.value().threads, 4u);
  EXPECT_EQ(left(), 4);
  EXPECT_EQ(::waitpid(root_, nullptr, WNOHANG), 0) << "it is our child, and runs";
}

TEST_F(fault_restore, a_number_in_use_is_refused_before_anything_is_made) {
  dump_and_collect(FinalState::kRun);
  Result<RestoreReport> report = restore(request_);
  ASSERT_FALSE(report.ok());
  EXPECT_NE(report.error().text().find("in use"), std::string::npos) << report.error().text();
  EXPECT_EQ(left(), 4) << "who has the numbers lives on";
}

TEST_F(fault_restore, a_child_that_fails_takes_the_whole_tree_with_it) {
  dump_and_collect();
  ASSERT_EQ(::unlink(scratch_.file("data").c_str()), 0);
  Result<RestoreReport> report = restore(request_);
  ASSERT_FALSE(report.ok());
  EXPECT_NE(report.error().text().find("data"), std::string::npos) << report.error().text();
  EXPECT_EQ(left_after_patience(0), 0);
}

// On a busy machine the tree may be whole before the wish is heard.
TEST_F(fault_restore, a_cancelled_restore_leaves_nothing) {
  dump_and_collect();
  int asked = 0;
  request_.callbacks.cancelled = [&asked] { return asked++ > 0; };
  Result<RestoreReport> report = restore(request_);
  if (!report.ok()) {
    EXPECT_EQ(report.error().code(), ErrorCode::kCancelled) << report.error().text();
  }
  const int expected = report.ok() ? 4 : 0;
  EXPECT_EQ(left_after_patience(expected), expected);
}

TEST_F(fault_restore, a_tree_can_be_left_stopped) {
  dump_and_collect();
  request_.after = AfterRestore::kStop;
  Result<RestoreReport> report = restore(request_);
  ASSERT_TRUE(report.ok()) << report.error().text();
  for (pid_t pid : pids_) {
    for (int tries = 0; tries < 400 && state_of(pid) != 'T'; tries++) ::usleep(5000);
    EXPECT_EQ(state_of(pid), 'T');
  }
  for (pid_t pid : pids_) ::kill(pid, SIGCONT);
  for (int tries = 0; tries < 400 && state_of(root_) == 'T'; tries++) ::usleep(5000);
  EXPECT_NE(state_of(root_), 'T');
}

TEST_F(fault_restore, a_root_can_be_our_sibling) {
  dump_and_collect();
  request_.root_is_sibling = true;
  pid_t engine = test::fork_child([this] {
    if (!restore(request_).ok()) ::_exit(3);
  });
  int status = -1;
  ASSERT_TRUE(test::wait_exit(engine, &status, std::chrono::seconds(20)));
  ASSERT_EQ(status, 0);
  EXPECT_EQ(left(), 4);
  EXPECT_EQ(::waitpid(root_, nullptr, WNOHANG), 0) << "it is a child of the engine's parent";
}

TEST_F(fault_restore, the_caller_keeps_its_signals_directory_and_limits) {
  dump_and_collect();
  auto state = [] {
    std::string status = test::file_text("/proc/self/status");
    size_t from = status.find("SigBlk"), to = status.find("CapInh");
    return status.substr(from, to - from) + test::file_text("/proc/self/limits") +
           test::file_text("/proc/self/cmdline");
  };
  std::string before = state();
  ASSERT_TRUE(restore(request_).ok());
  EXPECT_EQ(state(), before);
}

TEST_F(fault_restore, killed_at_any_moment_it_leaves_all_or_nothing) {
  dump_and_collect();
  int failed = 0, whole = 0;
  for (int moment = 0; moment < 60 && whole < 3; moment++) {
    pid_t engine = test::fork_child([this] { (void)restore(request_); });
    ::usleep(static_cast<useconds_t>(moment) * 400);
    ::kill(engine, SIGKILL);
    ::waitpid(engine, nullptr, 0);
    ::usleep(1000);
    test::collect_zombies();
    int left_now = left();
    if (left_now == 4 && left_after_patience(0) == 4) {
      whole++;
      for (pid_t pid : pids_) ::kill(pid, SIGKILL);
      ASSERT_EQ(left_after_patience(0), 0);
      continue;
    }
    failed++;
    ASSERT_EQ(left_after_patience(0), 0) << "moment " << moment;
  }
  EXPECT_GT(failed, 0);
  Result<RestoreReport> report = restore(request_);
  ASSERT_TRUE(report.ok()) << report.error().text();
}

TEST_F(fault_restore, the_death_of_the_coordinator_is_an_error_that_leaves_nothing) {
  dump_and_collect();
  int failed = 0;
  for (int moment = 1; moment < 30 && failed < 5; moment++) {
    pid_t engine = test::fork_child([this] {
      Result<RestoreReport> report = restore(request_);
      ::_exit(report.ok() ? 0 : 7);
    });
    ::usleep(static_cast<useconds_t>(moment) * 500);
    for (pid_t child : test::children_of(engine))
      if (child != root_) ::kill(child, SIGKILL);
    int status = -1;
    ASSERT_TRUE(test::wait_exit(engine, &status, std::chrono::seconds(20)));
    if (WEXITSTATUS(status) == 7) {
      failed++;
      ASSERT_EQ(left_after_patience(0), 0);
    } else {
      for (pid_t pid : pids_) ::kill(pid, SIGKILL);
      ASSERT_EQ(left_after_patience(0), 0);
    }
  }
  EXPECT_GT(failed, 0);
}

}  // namespace
}  // namespace ncr
