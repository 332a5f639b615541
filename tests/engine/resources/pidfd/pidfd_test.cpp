#include "engine/resources/pidfd/pidfd.h"

#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/engine/resources/reopening.h"
#include "tests/support/checkpoint_test.h"
#include "tests/support/child_process.h"

namespace ncr {
namespace {

Fd open_pidfd(pid_t pid, unsigned flags = 0) {
  return Fd(static_cast<int>(MUST(SYSCALL(::syscall(SYS_pidfd_open, pid, flags), "pidfd_open"))));
}

int send_signal(const Fd& pidfd, int signal) {
  return static_cast<int>(::syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0));
}

TEST(Pidfd, the_process_stands_in_fdinfo) {
  EXPECT_EQ(value_of(pidfd::parse_pid("pos:\t0\nflags:\t02\nPid:\t77\nNSpid:\t77\n")), 77);
  EXPECT_EQ(value_of(pidfd::parse_pid("pos:\t0\nPid:\t-1\n")), 0);
  EXPECT_FALSE(pidfd::parse_pid("pos:\t0\nPid:\t0\n").ok()) << "another pid namespace";
  EXPECT_FALSE(pidfd::parse_pid("pos:\t0\n").ok());
}

CR_TEST(pidfd, names_a_child_and_oneself) {
  const pid_t child = test::fork_child([] {
    for (;;) ::pause();
  });
  Fd self = open_pidfd(::getpid(), O_NONBLOCK);
  Fd other = open_pidfd(child);
  checkpoint_restore();
  EXPECT_EQ(send_signal(self, 0), 0);
  EXPECT_NE(::fcntl(self.get(), F_GETFL) & O_NONBLOCK, 0);
  pollfd running{other.get(), POLLIN, 0};
  EXPECT_EQ(::poll(&running, 1, 0), 0);
  ASSERT_EQ(send_signal(other, SIGKILL), 0);
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PIDFD, static_cast<id_t>(other.get()), &info, WEXITED), 0);
  EXPECT_EQ(info.si_pid, child);
  EXPECT_EQ(send_signal(other, 0), -1) << "its process was collected";
}

CR_TEST(pidfd, of_a_process_that_is_gone_stays_one) {
  const pid_t child = test::fork_child([] {});
  Fd gone = open_pidfd(child);
  Fd again = open_pidfd(child);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  checkpoint_restore();
  for (const Fd* fd : {&gone, &again}) {
    EXPECT_EQ(send_signal(*fd, 0), -1);
    EXPECT_EQ(errno, ESRCH);
    pollfd ended{fd->get(), POLLIN, 0};
    EXPECT_EQ(::poll(&ended, 1, 0), 1);
  }
  EXPECT_EQ(::waitpid(-1, &status, WNOHANG), -1) << "no child of ours is left";
}

// Linux 6.9 has an inode for each process; before, all descriptors show one.
bool has_inodes(const Fd& fd) {
  struct statfs system {};
  MUST(SYSCALL(::fstatfs(fd.get(), &system), "fstatfs"));
  return system.f_type == 0x50494446;
}

ino_t inode_of(const Fd& fd) {
  struct stat file {};
  MUST(SYSCALL(::fstat(fd.get(), &file), "fstat"));
  return file.st_ino;
}

CR_TEST(pidfd, processes_that_are_gone_stay_apart_and_the_same_for_everybody) {
  const pid_t first = test::fork_child([] {});
  const pid_t second = test::fork_child([] {});
  Fd one = open_pidfd(first);
  Fd other = open_pidfd(second);
  int to_parent[2];
  int to_child[2];
  ASSERT_EQ(::pipe2(to_parent, O_CLOEXEC), 0);
  ASSERT_EQ(::pipe2(to_child, O_CLOEXEC), 0);
  ino_t inode = 0;
  const pid_t child = test::fork_child([&] {
    Fd own = open_pidfd(first, O_NONBLOCK);
    one = Fd();
    ASSERT_EQ(::write(to_parent[1], &inode, sizeof inode), ssize_t{sizeof inode});
    ASSERT_EQ(::read(to_child[0], &inode, sizeof inode), ssize_t{sizeof inode});
    EXPECT_EQ(inode_of(own), inode);
    EXPECT_EQ(send_signal(own, 0), -1);
    EXPECT_NE(::fcntl(own.get(), F_GETFL) & O_NONBLOCK, 0);
  });
  ASSERT_EQ(::read(to_parent[0], &inode, sizeof inode), ssize_t{sizeof inode});
  int status = 0;
  ASSERT_EQ(::waitpid(first, &status, 0), first);
  ASSERT_EQ(::waitpid(second, &status, 0), second);
  checkpoint_restore();
  inode = inode_of(one);
  EXPECT_EQ(inode != inode_of(other), has_inodes(one));
  EXPECT_EQ(::fcntl(one.get(), F_GETFL) & O_NONBLOCK, 0) << "each has its own flags";
  ASSERT_EQ(::write(to_child[1], &inode, sizeof inode), ssize_t{sizeof inode});
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

CR_TEST(pidfd, an_epoll_still_watches_it) {
  const pid_t child = test::fork_child([] {
    for (;;) ::pause();
  });
  Fd epoll(MUST(SYSCALL(::epoll_create1(EPOLL_CLOEXEC), "epoll_create1")));
  Fd other = open_pidfd(child);
  epoll_event wanted{};
  wanted.events = EPOLLIN;
  ASSERT_EQ(::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, other.get(), &wanted), 0);
  checkpoint_restore();
  epoll_event ready{};
  EXPECT_EQ(::epoll_wait(epoll.get(), &ready, 1, 0), 0);
  ASSERT_EQ(send_signal(other, SIGKILL), 0);
  EXPECT_EQ(::epoll_wait(epoll.get(), &ready, 1, 10'000), 1);
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
}

CR_TEST_WITH(pidfd, one_of_a_stranger_is_refused, .refused_with = "not part of the tree") {
  Fd parent = open_pidfd(::getppid());
  checkpoint_restore();
}

}  // namespace
}  // namespace ncr
