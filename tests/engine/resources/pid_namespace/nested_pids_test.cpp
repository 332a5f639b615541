// Pid namespaces below that of the tree's root.
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <ctime>
#include <functional>
#include <set>
#include <string>
#include <thread>

#include "engine/base/sys.h"
#include "tests/support/checkpoint_test.h"
#include "tests/support/gate.h"
#include "tests/support/scratch.h"

namespace ncr {
namespace {

using test::Gate, test::expect_success, test::fork_with, test::leave, test::link_of;

// The first process of a new pid namespace.
pid_t fork_first(uint64_t more_flags, const std::function<void()>& body) {
  clone_args args{};
  args.flags = CLONE_NEWPID | more_flags;
  args.exit_signal = SIGCHLD;
  const auto child = static_cast<pid_t>(::syscall(SYS_clone3, &args, sizeof args));
  EXPECT_GE(child, 0) << strerror(errno);
  if (child == 0) {
    body();
    leave();
  }
  return child;
}

CR_TEST(nested_pids, processes_keep_their_numbers_on_both_levels) {
  Gate gate;
  const pid_t first = fork_first(0, [&] {
    const pid_t child = fork_with([&] {
      gate.pass();
      EXPECT_EQ(::getpid(), 2);
      EXPECT_EQ(::getppid(), 1);
    });
    EXPECT_EQ(child, 2);
    gate.pass();
    EXPECT_EQ(::getpid(), 1);
    EXPECT_EQ(::getppid(), 0);
    expect_success(child);
  });
  gate.wait_ready(2);
  checkpoint_restore();
  gate.open(2);
  expect_success(first);
}

CR_TEST(nested_pids, several_levels_are_kept) {
  Gate gate;
  const pid_t first = fork_first(0, [&] {
    EXPECT_EQ(::getpid(), 1);
    const pid_t below = fork_first(0, [&] {
      const pid_t child = fork_with([&] {
        gate.pass();
        EXPECT_EQ(::getpid(), 2);
      });
      gate.pass();
      EXPECT_EQ(::getpid(), 1);
      expect_success(child);
    });
    EXPECT_EQ(below, 2);
    gate.pass();
    expect_success(below);
  });
  gate.wait_ready(3);
  checkpoint_restore();
  gate.open(3);
  expect_success(first);
}

CR_TEST(nested_pids, threads_and_their_timers_keep_their_numbers) {
  Gate gate;
  const pid_t first = fork_first(0, [&] {
    (void)fork_with([&] {
      std::thread thread([&] {
        const auto tid = static_cast<pid_t>(::syscall(SYS_gettid));
        struct sigevent event {};
        event.sigev_notify = SIGEV_THREAD_ID;
        event.sigev_signo = SIGUSR1;
        event._sigev_un._tid = tid;
        timer_t timer;
        EXPECT_EQ(::timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGUSR1);
        EXPECT_EQ(::pthread_sigmask(SIG_BLOCK, &set, nullptr), 0);
        gate.pass();
        EXPECT_EQ(static_cast<pid_t>(::syscall(SYS_gettid)), tid);
        EXPECT_LT(tid, 10);
        itimerspec soon{{0, 0}, {0, 1'000'000}};
        EXPECT_EQ(::timer_settime(timer, 0, &soon, nullptr), 0);
        EXPECT_EQ(::sigwaitinfo(&set, nullptr), SIGUSR1);
      });
      thread.join();
    });
    expect_success(2);
  });
  gate.wait_ready(1);
  checkpoint_restore();
  gate.open(1);
  expect_success(first);
}

CR_TEST(nested_pids, sessions_and_groups_are_kept) {
  Gate gate;
  const pid_t group = ::getpgrp();
  const pid_t first = fork_first(0, [&] {
    const pid_t leader = fork_with([&] {
      EXPECT_EQ(::setsid(), ::getpid());
      const pid_t child = fork_with([&] {
        EXPECT_EQ(::setpgid(0, 0), 0);
        gate.pass();
        EXPECT_EQ(::getpgrp(), ::getpid());
        EXPECT_EQ(::getsid(0), ::getppid());
      });
      gate.pass();
      EXPECT_EQ(::getsid(0), ::getpid());
      expect_success(child);
    });
    gate.pass();
    EXPECT_EQ(::getpgrp(), 0);  // led from above
    expect_success(leader);
  });
  gate.wait_ready(3);
  checkpoint_restore();
  EXPECT_EQ(::getpgid(first), group);
  gate.open(3);
  expect_success(first);
}

CR_TEST(nested_pids, members_of_a_group_and_a_session_outlive_their_leaders) {
  Gate gate;
  const pid_t first = fork_first(0, [&] {
    const pid_t leader = fork_with([&] {
      ::setsid();
      (void)fork_with([&] {
        while (::getppid() != 1) ::usleep(1000);
        gate.pass();
        EXPECT_EQ(::getsid(0), 2);
        EXPECT_EQ(::getpgrp(), 2);
        EXPECT_EQ(::getppid(), 1);
      });
    });
    expect_success(leader);
    gate.pass();
    EXPECT_EQ(::kill(2, 0), -1);
    expect_success(3);
  });
  gate.wait_ready(2);
  checkpoint_restore();
  gate.open(2);
  expect_success(first);
}

CR_TEST(nested_pids, what_has_exited_is_still_to_be_collected) {
  Gate gate;
  const pid_t over = fork_first(0, [] { ::_exit(7); });
  const pid_t first = fork_first(0, [&] {
    const pid_t dead = fork_with([] { ::_exit(3); });
    siginfo_t info{};
    EXPECT_EQ(::waitid(P_PID, static_cast<id_t>(dead), &info, WEXITED | WNOWAIT), 0);
    gate.pass();
    int status = 0;
    EXPECT_EQ(::waitpid(dead, &status, 0), dead);
    EXPECT_EQ(WEXITSTATUS(status), 3);
  });
  siginfo_t info{};
  EXPECT_EQ(::waitid(P_PID, static_cast<id_t>(over), &info, WEXITED | WNOWAIT), 0);
  gate.wait_ready(1);
  checkpoint_restore();
  int status = 0;
  EXPECT_EQ(::waitpid(over, &status, 0), over);
  EXPECT_EQ(WEXITSTATUS(status), 7);
  gate.open(1);
  expect_success(first);
}

CR_TEST(nested_pids, children_to_come_are_born_below) {
  Gate gate;
  EXPECT_EQ(::unshare(CLONE_NEWPID), 0);
  const pid_t first = fork_with([&] { gate.pass(); });
  gate.wait_ready(1);
  const std::string below = link_of("/proc/self/ns/pid_for_children");
  EXPECT_NE(below, link_of("/proc/self/ns/pid"));
  checkpoint_restore();
  EXPECT_NE(link_of("/proc/self/ns/pid_for_children"), link_of("/proc/self/ns/pid"));
  expect_success(fork_with([] { EXPECT_EQ(::getpid(), 2); }));
  gate.open(1);
  expect_success(first);
}

void mount_own_proc() {
  EXPECT_EQ(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0) << strerror(errno);
  EXPECT_EQ(::mount("proc", "/proc", "proc", 0, nullptr), 0) << strerror(errno);
}

CR_TEST(nested_pids, a_procfs_of_its_own_shows_its_numbers) {
  Gate gate;
  const pid_t first = fork_first(CLONE_NEWNS, [&] {
    mount_own_proc();
    EXPECT_EQ(::mount("/proc/sys", "/proc/sys", nullptr, MS_BIND, nullptr), 0) << strerror(errno);
    const pid_t child = fork_with([&] {
      Fd stat = MUST(sys::open("/proc/1/stat", O_RDONLY));
      gate.pass();
      EXPECT_EQ(link_of("/proc/self"), "2");
      char text[8] = {};
      EXPECT_GT(::pread(stat.get(), text, 2, 0), 0);
      EXPECT_STREQ(text, "1 ");
    });
    gate.pass();
    EXPECT_EQ(link_of("/proc/self"), "1");
    EXPECT_EQ(::access("/proc/2/stat", R_OK), 0);
    EXPECT_EQ(::access("/proc/3/stat", R_OK), -1);
    EXPECT_EQ(::access("/proc/sys/kernel/pid_max", R_OK), 0);
    expect_success(child);
  });
  gate.wait_ready(2);
  checkpoint_restore();
  gate.open(2);
  expect_success(first);
}

CR_TEST(nested_pids, descriptors_name_processes_as_their_holder_does) {
  Gate gate;
  const pid_t first = fork_first(0, [&] {
    const pid_t child = fork_with([&] {
      gate.say_ready();
      for (;;) ::pause();
    });
    Fd process = MUST(sys::pidfd_open(child));
    int pair[2];
    EXPECT_EQ(::pipe(pair), 0);
    EXPECT_EQ(::fcntl(pair[0], F_SETOWN, child), 0);
    gate.pass();
    EXPECT_EQ(::fcntl(pair[0], F_GETOWN), child);
    EXPECT_EQ(::syscall(SYS_pidfd_send_signal, process.get(), SIGKILL, nullptr, 0), 0);
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status));
  });
  gate.wait_ready(2);
  checkpoint_restore();
  gate.open(1);
  expect_success(first);
}

CR_TEST_WITH(nested_pids, a_pidfd_of_a_process_above_is_refused_by_name,
             .refused_with = "is in another pid namespace than its holder") {
  Gate gate;
  Fd above = MUST(sys::pidfd_open(::getpid()));
  const pid_t first = fork_first(0, [&] { gate.pass(); });
  above = Fd();
  gate.wait_ready(1);
  checkpoint_restore();
  gate.open(1);
  expect_success(first);
}

CR_TEST_WITH(nested_pids, who_came_in_from_outside_is_refused_by_name,
             .refused_with = "it came into it from outside") {
  Gate gate;
  EXPECT_EQ(::unshare(CLONE_NEWPID), 0);
  const pid_t first = fork_with([&] { gate.pass(); });
  Gate of_guest;
  const pid_t guest = fork_with([&] { of_guest.pass(); });
  of_guest.wait_ready(1);
  gate.wait_ready(1);
  checkpoint_restore();
  of_guest.open(1);
  expect_success(guest);
  gate.open(1);
  expect_success(first);
}

// What is mounted at and below /proc, without numbers and order, which are new.
std::multiset<std::string> mounts_of_proc() {
  std::multiset<std::string> mounts;
  const std::string table = MUST(sys::read_file("/proc/thread-self/mountinfo"));
  for (size_t at = 0; at < table.size(); at = table.find('\n', at) + 1) {
    const std::string line = table.substr(at, table.find('\n', at) - at);
    std::string mount = line.substr(line.find(" /"), line.find(" - ") - line.find(" /"));
    if (mount.find(" /proc") == std::string::npos) continue;
    for (const char* group : {"shared:", "master:"})
      if (const size_t found = mount.find(group); found != std::string::npos)
        mount.erase(found + 7, mount.find(' ', found) - found - 7);
    mounts.insert(std::move(mount));
  }
  return mounts;
}

// As `unshare --pid --fork --mount-proc` leaves its caller.
void see_procfs_from_above(unsigned long how_mounts_spread) {
  Gate gate;
  EXPECT_EQ(::mount(nullptr, "/", nullptr, MS_REC | how_mounts_spread, nullptr), 0);
  const pid_t above = fork_with([&] {
    EXPECT_EQ(::unshare(CLONE_NEWNS | CLONE_NEWPID), 0);
    EXPECT_EQ(::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr), 0);
    EXPECT_EQ(::mount(nullptr, "/", nullptr, MS_REC | how_mounts_spread, nullptr), 0);
    const pid_t first = fork_with([&] {
      EXPECT_EQ(::mount("proc", "/proc", "proc", MS_NOEXEC, nullptr), 0) << strerror(errno);
      EXPECT_EQ(::mount("/proc/sys", "/proc/sys", nullptr, MS_BIND, nullptr), 0);
      EXPECT_EQ(::mount("tmpfs", "/proc/bus", "tmpfs", 0, nullptr), 0);
      gate.say_ready();
      const std::multiset<std::string> before = mounts_of_proc();
      gate.pass();
      EXPECT_EQ(mounts_of_proc(), before);
      EXPECT_EQ(link_of("/proc/self"), "1");
    });
    gate.pass();
    EXPECT_EQ(::access("/proc/1/stat", R_OK), 0);
    EXPECT_EQ(::access("/proc/2/stat", R_OK), -1);
    EXPECT_EQ(::access("/proc/self/stat", R_OK), -1);
    EXPECT_EQ(::access("/proc/sys/kernel/pid_max", R_OK), 0);
    expect_success(first);
  });
  gate.wait_ready(3);
  const std::multiset<std::string> before = mounts_of_proc();
  checkpoint_restore();
  EXPECT_EQ(mounts_of_proc(), before);
  gate.open(2);
  expect_success(above);
}

CR_TEST(nested_pids, a_procfs_is_seen_from_above) {
  EXPECT_EQ(::unshare(CLONE_NEWNS), 0);
  see_procfs_from_above(MS_PRIVATE);
}

CR_TEST(nested_pids, a_procfs_is_seen_from_above_where_mounts_spread) {
  EXPECT_EQ(::unshare(CLONE_NEWNS), 0);
  EXPECT_EQ(::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr), 0);
  see_procfs_from_above(MS_SHARED);
}

CR_TEST_WITH(nested_pids, a_descriptor_of_one_is_refused_by_name,
             .refused_with = "one below that of the root of the tree can be had by its processes") {
  Gate gate;
  const pid_t first = fork_first(0, [&] { gate.pass(); });
  gate.wait_ready(1);
  Fd held = MUST(sys::open(strf("/proc/%d/ns/pid", first).c_str(), O_RDONLY));
  checkpoint_restore();
  gate.open(1);
  expect_success(first);
}

CR_TEST_WITH(nested_pids, a_tree_that_runs_on_is_looked_at_and_left,
             .final_state = FinalState::kRun) {
  Gate gate;
  const pid_t first = fork_first(0, [&] { gate.pass(); });
  gate.wait_ready(1);
  checkpoint_restore();
  gate.open(1);
  expect_success(first);
}

}  // namespace
}  // namespace ncr
