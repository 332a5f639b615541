// Pid namespaces that belong to user namespaces below that of the tree's root, and numbers that
// nobody in such a user namespace may choose.
#include <linux/sched.h>
#include <sys/syscall.h>

#include <csignal>
#include <thread>

#include "tests/engine/resources/user_namespace/user_dweller.h"
#include "tests/support/child_process.h"

namespace ncr {
namespace {

using namespace test;

// Root of a new user namespace, and the first process of a new pid namespace that belongs to it.
pid_t fork_user_first(int flags, const std::function<void()>& body) {
  return fork_with([&] {
    unshare_with_maps(CLONE_NEWPID | flags, kSomeIds);
    become(0);
    expect_success(fork_with(body));
  });
}

// What its parent calls it.
pid_t only_child_of(pid_t parent) {
  const std::string path = strf("/proc/%d/task/%d/children", parent, parent);
  Result<std::string> children = sys::read_file(path.c_str());
  if (children.ok()) return static_cast<pid_t>(std::atoi(children.value().c_str()));
  for (pid_t pid = parent + 1; pid < parent + 1000; pid++) {
    Result<std::string> status = sys::read_file(strf("/proc/%d/status", pid).c_str());
    if (status.ok() && status.value().find(strf("\nPPid:\t%d\n", parent)) != std::string::npos)
      return pid;
  }
  return 0;
}

CR_TEST(nested_users_pids, threads_keep_their_numbers) {
  Gate gate;
  const pid_t child = fork_user(0, [&] {
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; i++)
      threads.emplace_back([&] {
        const long tid = ::syscall(SYS_gettid);
        const std::string before = identity();
        gate.pass();
        EXPECT_EQ(::syscall(SYS_gettid), tid);
        EXPECT_EQ(identity(), before);
      });
    const std::string before = identity();
    gate.pass();
    EXPECT_EQ(identity(), before);
    for (std::thread& thread : threads) thread.join();
  });
  gate.wait_ready(4);
  checkpoint_restore();
  gate.open(4);
  expect_success(child);
}

CR_TEST(nested_users_pids, threads_may_be_different_users) {
  Gate gate;
  const pid_t child = fork_user(0, [&] {
    std::thread thread([&] {
      EXPECT_EQ(::syscall(SYS_setresuid, 5, 6, 7), 0);
      const std::string before = MUST(sys::read_file("/proc/thread-self/status"));
      gate.pass();
      const std::string after = MUST(sys::read_file("/proc/thread-self/status"));
      for (const char* field : {"\nUid:", "\nCapEff:", "\nCapPrm:"}) {
        const size_t at = before.find(field);
        const std::string line = before.substr(at, before.find('\n', at + 1) - at);
        EXPECT_NE(after.find(line), std::string::npos) << line;
      }
    });
    gate.pass();
    EXPECT_EQ(::geteuid(), 0u);
    thread.join();
  });
  gate.wait_ready(2);
  checkpoint_restore();
  gate.open(2);
  expect_success(child);
}

CR_TEST(nested_users_pids, processes_keep_their_numbers_on_both_levels) {
  Gate gate;
  const pid_t child = fork_user_first(0, [&] {
    const pid_t second = fork_with([&] {
      const std::string before = identity();
      gate.pass();
      EXPECT_EQ(::getpid(), 2);
      EXPECT_EQ(identity(), before);
    });
    EXPECT_EQ(second, 2);
    const std::string before = identity();
    gate.pass();
    EXPECT_EQ(::getpid(), 1);
    EXPECT_EQ(identity(), before);
    expect_success(second);
  });
  gate.wait_ready(2);
  const pid_t first = only_child_of(child);
  EXPECT_GT(first, 0);
  checkpoint_restore();
  EXPECT_EQ(only_child_of(child), first);
  EXPECT_EQ(related(strf("/proc/%d/ns/pid", first), NS_GET_USERNS),
            inode_at(strf("/proc/%d/ns/user", first)));
  EXPECT_EQ(link_of(strf("/proc/%d/ns/user", first)), link_of(strf("/proc/%d/ns/user", child)));
  gate.open(2);
  expect_success(child);
}

// What browsers do to the processes that show pages.
CR_TEST(nested_users_pids, a_sandbox_with_threads_and_a_network_of_its_own) {
  Gate gate;
  const pid_t child = fork_user_first(CLONE_NEWNET, [&] {
    const pid_t second = fork_with([&] {
      std::thread thread([&] {
        const long tid = ::syscall(SYS_gettid);
        gate.pass();
        EXPECT_EQ(::syscall(SYS_gettid), tid);
        EXPECT_LT(tid, 10);
      });
      EXPECT_EQ(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
      EXPECT_EQ(::setresuid(7, 7, 7), 0);
      gate.pass();
      EXPECT_EQ(::getuid(), 7u);
      thread.join();
    });
    gate.pass();
    expect_success(second);
  });
  gate.wait_ready(3);
  checkpoint_restore();
  gate.open(3);
  expect_success(child);
}

// Each in pid namespaces of its own, whose numbers are those of the other's.
TEST(allns_nested_users_pids, two_trees_with_the_same_numbers_side_by_side) {
  auto restore_some = [] {
    for (int round = 0; round < 3; round++)
      run_checkpoint_test(
          &ncr_body_nested_users_pids_a_sandbox_with_threads_and_a_network_of_its_own);
  };
  int done[2];
  ASSERT_EQ(::pipe2(done, O_CLOEXEC), 0);
  for (int tree = 0; tree < 2; tree++)  // a run ends with all descendants of who runs it
    test::fork_child([&] {
      restore_some();
      if (!testing::Test::HasFailure()) (void)!::write(done[1], "y", 1);
    });
  ::close(done[1]);
  char byte = 0;
  for (int tree = 0; tree < 2; tree++) EXPECT_EQ(::read(done[0], &byte, 1), 1) << "one failed";
  ::close(done[0]);
}

CR_TEST(nested_users_pids, who_may_choose_numbers_there_still_may) {
  Gate gate;
  const pid_t child = fork_user_first(0, [&] {
    gate.pass();
    const pid_t number = 77;
    clone_args args{};
    args.exit_signal = SIGCHLD;
    args.set_tid = reinterpret_cast<uint64_t>(&number);
    args.set_tid_size = 1;
    const auto made = static_cast<pid_t>(::syscall(SYS_clone3, &args, sizeof args));
    if (made == 0) leave();
    EXPECT_EQ(made, 77) << strerror(errno);
    expect_success(made);
  });
  gate.wait_ready(1);
  checkpoint_restore();
  gate.open(1);
  expect_success(child);
}

CR_TEST(nested_users_pids, one_level_after_the_other) {
  Gate gate;
  const pid_t child = fork_user_first(0, [&] {
    const pid_t below = fork_with([&] {
      unshare_with_maps(CLONE_NEWPID, "0 0 20\n");
      expect_success(fork_with([&] {
        const std::string before = identity();
        gate.pass();
        EXPECT_EQ(::getpid(), 1);
        EXPECT_EQ(identity(), before);
      }));
    });
    gate.pass();
    expect_success(below);
  });
  gate.wait_ready(2);
  checkpoint_restore();
  gate.open(2);
  expect_success(child);
}

}  // namespace
}  // namespace ncr
