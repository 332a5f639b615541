#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "engine/base/fd.h"
#include "engine/resources/tty/orphan_terminals.h"
#include "engine/resources/tty/pty_queue.h"
#include "engine/resources/tty/tty.h"
#include "tests/engine/resources/reopening.h"
#include "tests/engine/resources/round_trip.h"
#include "tests/support/checkpoint_test.h"
#include "tests/support/child_process.h"
#include "tests/support/scratch.h"

namespace ncr::tty {
namespace {

using test::round_trip;

struct Pty {
  Pty() : master(::open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC)) {
    int unlocked = 0;
    EXPECT_EQ(::ioctl(master.get(), TIOCSPTLCK, &unlocked), 0);
    slave = open_slave();
  }
  Fd open_slave(int flags = O_RDWR) const {
    return Fd(::ioctl(master.get(), TIOCGPTPEER, flags | O_NOCTTY | O_CLOEXEC));
  }
  int number() const {
    int value = -1;
    ::ioctl(master.get(), TIOCGPTN, &value);
    return value;
  }
  Fd master;
  Fd slave;
};

std::string receive(const Fd& fd) {
  pollfd wait{fd.get(), POLLIN, 0};
  if (::poll(&wait, 1, 2000) <= 0) return "nothing";
  char data[256];
  ssize_t got = ::read(fd.get(), data, sizeof data);
  return got < 0 ? "errno " + std::to_string(errno) : std::string(data, static_cast<size_t>(got));
}

void type(const Fd& fd, const std::string& text) {
  EXPECT_EQ(::write(fd.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
}

short events(const Fd& fd) {
  pollfd state{fd.get(), POLLIN, 0};
  ::poll(&state, 1, 0);
  return state.revents;
}

TEST(tty, device_number_is_written_as_proc_stat_does) {
  schema::Tty tty;
  tty.set_driver(136);
  tty.set_number(3);
  EXPECT_EQ(stat_device(tty), 34819u);
  tty.set_number(300);
  EXPECT_EQ(stat_device(tty), (300u & 0xff) | (136u << 8) | (0x100u << 12));
}

TEST(tty, pair_keeps_number_modes_and_size) {
  Pty pty;
  termios modes{};
  ASSERT_EQ(::tcgetattr(pty.slave.get(), &modes), 0);
  modes.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
  modes.c_cc[VINTR] = 7;
  ASSERT_EQ(::tcsetattr(pty.slave.get(), TCSANOW, &modes), 0);
  winsize size{33, 101, 1, 2};
  ASSERT_EQ(::ioctl(pty.master.get(), TIOCSWINSZ, &size), 0);
  ASSERT_EQ(::fchmod(pty.slave.get(), 0622), 0);
  int number = pty.number();
  ASSERT_EQ(round_trip({pty.slave.get(), pty.master.get()}).error, "");
  EXPECT_EQ(pty.number(), number);
  termios after{};
  ASSERT_EQ(::tcgetattr(pty.slave.get(), &after), 0);
  EXPECT_EQ(after.c_lflag, modes.c_lflag);
  EXPECT_EQ(after.c_cc[VINTR], 7);
  winsize now{};
  ASSERT_EQ(::ioctl(pty.slave.get(), TIOCGWINSZ, &now), 0);
  EXPECT_EQ(now.ws_row, 33);
  EXPECT_EQ(now.ws_col, 101);
  struct stat stat {};
  ASSERT_EQ(::fstat(pty.slave.get(), &stat), 0);
  EXPECT_EQ(stat.st_mode & 07777, 0622u);
  type(pty.master, "in");
  EXPECT_EQ(receive(pty.slave), "in");
  type(pty.slave, "out");
  EXPECT_EQ(receive(pty.master), "out");
}

TEST(tty, every_description_of_a_slave_keeps_its_own_flags) {
  Pty pty;
  Fd second = pty.open_slave(O_RDONLY | O_NONBLOCK);
  ASSERT_EQ(round_trip({pty.slave.get(), second.get(), pty.master.get()}).error, "");
  EXPECT_EQ(::fcntl(second.get(), F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDONLY | O_NONBLOCK);
  EXPECT_EQ(::fcntl(pty.slave.get(), F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDWR);
}

TEST(tty, packet_mode_and_lock_survive) {
  Pty pty;
  int on = 1;
  ASSERT_EQ(::ioctl(pty.master.get(), TIOCPKT, &on), 0);
  ASSERT_EQ(::ioctl(pty.master.get(), TIOCSPTLCK, &on), 0);
  ASSERT_EQ(round_trip({pty.master.get(), pty.slave.get()}).error, "");
  int value = 0;
  ASSERT_EQ(::ioctl(pty.master.get(), TIOCGPKT, &value), 0);
  EXPECT_EQ(value, 1);
  ASSERT_EQ(::ioctl(pty.master.get(), TIOCGPTLCK, &value), 0);
  EXPECT_EQ(value, 1);
}

TEST(tty, master_still_sees_that_its_slaves_are_closed) {
  Pty closed;
  closed.slave.close();
  Pty fresh;
  Fd untouched(::open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC));
  ASSERT_EQ(round_trip({closed.master.get(), untouched.get()}).error, "");
  EXPECT_NE(events(closed.master) & POLLHUP, 0);
  EXPECT_EQ(events(untouched) & POLLHUP, 0);
}

TEST(tty, slave_of_a_closed_master_stays_hung_up) {
  Pty pty;
  pty.master.close();
  ASSERT_EQ(round_trip({pty.slave.get()}).error, "");
  EXPECT_EQ(receive(pty.slave), "");
  termios modes{};
  EXPECT_EQ(::tcgetattr(pty.slave.get(), &modes), -1);
  EXPECT_EQ(errno, EIO);
}

TEST(tty, bytes_under_way_survive_both_ways) {
  Pty pty;
  type(pty.slave, "shown\n");
  type(pty.master, "whole\nhalf");  // echoed: the master has "whole\r\nhalf" to read, too
  ::usleep(10'000);
  ASSERT_EQ(round_trip({pty.master.get(), pty.slave.get()}).error, "");
  EXPECT_EQ(receive(pty.master), "shown\r\nwhole\r\nhalf");
  EXPECT_EQ(receive(pty.slave), "whole\n");
  EXPECT_EQ(events(pty.slave) & POLLIN, 0);
  type(pty.master, " line\n");
  EXPECT_EQ(receive(pty.slave), "half line\n");
}

TEST(tty, bytes_under_way_are_only_looked_at) {
  Pty pty;
  termios modes{};
  ASSERT_EQ(::tcgetattr(pty.slave.get(), &modes), 0);
  type(pty.slave, "out");
  type(pty.master, "in\x04");  // the end of file that ctrl-D types
  ::usleep(10'000);
  schema::Tty seen;
  ASSERT_TRUE(read_queues(pty.master, false, &seen).ok());
  EXPECT_EQ(seen.output(), "outin");
  EXPECT_EQ(receive(pty.master), "outin");
  EXPECT_EQ(receive(pty.slave), "in");
  termios after{};
  ASSERT_EQ(::tcgetattr(pty.slave.get(), &after), 0);
  EXPECT_EQ(after.c_lflag, modes.c_lflag);
  EXPECT_EQ(after.c_cc[VEOF], modes.c_cc[VEOF]);
}

// TIOCSTI takes CAP_SYS_ADMIN outside of any user namespace.
TEST(tty, typed_bytes_are_put_back_where_simulated_input_is_denied) {
  Pty pty;
  type(pty.master, "a line\nunfinished");
  ASSERT_NE(events(pty.slave) & POLLIN, 0);
  const pid_t child = test::fork_child([&] {
    if (::unshare(CLONE_NEWUSER) != 0) ::_exit(77);
    for (int times = 0; times < 2; times++) {
      schema::Tty seen;
      if (!read_queues(pty.master, false, &seen).ok()) ::_exit(1);
      if (seen.input() != "a line\nunfinished") ::_exit(2);
    }
    ::_exit(0);
  });
  int status = 0;
  ASSERT_TRUE(test::wait_exit(child, &status, std::chrono::seconds(20)));
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "no user namespace can be made";
  EXPECT_EQ(status, 0);
  EXPECT_EQ(receive(pty.slave), "a line\n");
  EXPECT_EQ(events(pty.slave) & POLLIN, 0);
  type(pty.master, "\n");
  EXPECT_EQ(receive(pty.slave), "unfinished\n");
}

TEST(tty, much_output_survives) {
  Pty pty;
  termios modes{};
  ASSERT_EQ(::tcgetattr(pty.slave.get(), &modes), 0);
  ::cfmakeraw(&modes);
  ASSERT_EQ(::tcsetattr(pty.slave.get(), TCSANOW, &modes), 0);
  std::string much;
  for (int i = 0; i < 2000; i++) much += std::to_string(i) + "\n";
  type(pty.slave, much);
  ::usleep(10'000);
  ASSERT_EQ(round_trip({pty.master.get(), pty.slave.get()}).error, "");
  std::string got;
  while (got.size() < much.size()) {
    std::string part = receive(pty.master);
    ASSERT_NE(part, "nothing") << got.size();
    got += part;
  }
  EXPECT_EQ(got, much);
}

TEST(tty, terminal_outside_is_named_with_the_way_out) {
  Pty pty;
  auto result = round_trip({pty.slave.get()});
  ASSERT_EQ(result.blockers.size(), 1u);
  EXPECT_NE(result.blockers[0].object.find("terminal /dev/pts/"), std::string::npos);
  EXPECT_EQ(result.blockers[0].way_out.substr(0, 11), "--shell-job");
}

TEST(tty, terminal_outside_is_replaced_by_the_one_given_for_it) {
  Pty old;
  Pty given;
  struct stat stat {};
  ASSERT_EQ(::fstat(old.slave.get(), &stat), 0);
  char key[64];
  std::snprintf(key, sizeof key, "tty[%llx:%llx]", static_cast<unsigned long long>(stat.st_rdev),
                static_cast<unsigned long long>(stat.st_dev));
  RestoreRequest request;
  request.shell_job = ShellJob::kInheritTerminal;
  request.inherited.push_back({key, given.slave.get()});
  ASSERT_EQ(round_trip({old.slave.get()}, request).error, "");
  type(old.slave, "here");
  EXPECT_EQ(receive(given.master), "here");
}

TEST(tty, the_other_end_is_made_for_the_caller) {
  Pty pty;
  const int number = pty.number();
  winsize size{33, 77, 0, 0};
  ASSERT_EQ(::ioctl(pty.slave.get(), TIOCSWINSZ, &size), 0);
  ASSERT_EQ(::fchmod(pty.slave.get(), 0600), 0);
  Reopening trip;
  const uint32_t slave = trip.dump(pty.slave.get());
  pty.slave.close();
  trip.keep_records_only();
  pty.master.close();
  RestoreRequest request;
  request.orphan_pts_master = true;
  auto orphans = OrphanTerminals::create();
  ASSERT_TRUE(orphans.ok());
  const OrphanTerminals list = orphans.take();
  trip.orphans = &list;
  Result<> restored = trip.restore(request);
  ASSERT_TRUE(restored.ok()) << restored.error().text();
  auto masters = list.fetch([](size_t) { return ::getpid(); });
  ASSERT_TRUE(masters.ok()) << masters.error().text();
  ASSERT_EQ(masters.value().size(), 1u);
  const Fd& master = masters.value().front();
  int made = -1;
  ASSERT_EQ(::ioctl(master.get(), TIOCGPTN, &made), 0);
  EXPECT_EQ(made, number);
  winsize now{};
  ASSERT_EQ(::ioctl(master.get(), TIOCGWINSZ, &now), 0);
  EXPECT_EQ(now.ws_row, 33);
  EXPECT_EQ(now.ws_col, 77);
  struct stat node {};
  ASSERT_EQ(::fstat(trip.opened(slave), &node), 0);
  EXPECT_EQ(node.st_mode & 07777u, 0600u);
  ASSERT_EQ(::write(trip.opened(slave), "here", 4), 4);
  EXPECT_EQ(receive(master), "here");
}

// What of a terminal outside is no blocker, by request.
TEST(tty, terminal_outside_may_be_asked_for) {
  Pty pty;
  Reopening trip;
  const uint32_t id = trip.dump(pty.slave.get());
  Task task;
  task.pid = 9;
  const FdRoom* room = fd_room_of(schema::OpenFile::kTty);
  const std::vector<SeenFile> seen = {{&trip.record(id), &task, FdNumber{0}}};
  DumpRequest orphan;
  orphan.orphan_pts_master = true;
  DumpRequest external;
  struct stat stat {};
  ASSERT_EQ(::fstat(pty.slave.get(), &stat), 0);
  external.externals.push_back({"tty",
                                strf("%llx:%llx", static_cast<unsigned long long>(stat.st_rdev),
                                     static_cast<unsigned long long>(stat.st_dev)),
                                ""});
  Blockers none;
  ASSERT_TRUE(room->check(seen, orphan, none).ok());
  ASSERT_TRUE(room->check(seen, external, none).ok());
  EXPECT_TRUE(none.empty());
  ASSERT_TRUE(room->check(seen, {}, none).ok());
  EXPECT_EQ(none.list().size(), 1u);
}

TEST(tty, number_that_is_taken_is_named_with_its_holder) {
  Pty pty;
  Fd copy(::fcntl(pty.master.get(), F_DUPFD_CLOEXEC, 0));
  auto result = round_trip({pty.master.get(), pty.slave.get()});
  EXPECT_NE(result.error.find("is taken by process " + std::to_string(::getpid())),
            std::string::npos)
      << result.error;
}

// ---- Whole checkpoints
// ----------------------------------------------------------------------------------------------------

CR_TEST(tty, pair_within_one_process_goes_on) {
  Pty pty;
  int number = pty.number();
  checkpoint_restore();
  EXPECT_EQ(pty.number(), number);
  type(pty.slave, "out");
  EXPECT_EQ(receive(pty.master), "out");
}

CR_TEST(tty, dev_tty_leads_to_the_same_terminal) {
  ::signal(SIGHUP, SIG_IGN);  // comes when this test closes the master
  Pty pty;
  ASSERT_EQ(::ioctl(pty.slave.get(), TIOCSCTTY, 0), 0);
  Fd current(::open("/dev/tty", O_RDWR | O_CLOEXEC));
  ASSERT_TRUE(current.valid());
  checkpoint_restore();
  type(current, "line\n");
  EXPECT_EQ(receive(pty.master), "line\r\n");
  Fd again(::open("/dev/tty", O_RDWR | O_CLOEXEC));
  EXPECT_TRUE(again.valid());
}

TEST(Tty, a_console_of_the_machine_is_its_node_again) {
  test::Scratch scratch;
  const std::string path = scratch.file("console");
  if (::mknod(path.c_str(), S_IFCHR | 0600, makedev(5, 1)) != 0) return;
  Fd console(::open(path.c_str(), O_RDONLY | O_NOCTTY | O_NONBLOCK));
  if (!console.valid()) GTEST_SKIP() << "this machine has no console";
  Reopening trip;
  const uint32_t id = trip.dump(console.get());
  EXPECT_EQ(trip.record(id).tty().machine_node(), path);
  Result<> restored = trip.restore();
  ASSERT_TRUE(restored.ok()) << restored.error().text();
  struct stat now {};
  ASSERT_EQ(::fstat(trip.opened(id), &now), 0);
  EXPECT_EQ(now.st_rdev, makedev(5, 1));
}

TEST(Tty, a_console_whose_node_is_something_else_by_now_is_refused) {
  test::Scratch scratch;
  const std::string path = scratch.file("console");
  if (::mknod(path.c_str(), S_IFCHR | 0600, makedev(5, 1)) != 0) return;
  Fd console(::open(path.c_str(), O_RDONLY | O_NOCTTY | O_NONBLOCK));
  if (!console.valid()) GTEST_SKIP() << "this machine has no console";
  Reopening trip;
  (void)trip.dump(console.get());
  ASSERT_EQ(::unlink(path.c_str()), 0);
  ASSERT_EQ(::mknod(path.c_str(), S_IFCHR | 0600, makedev(1, 3)), 0);
  Result<> restored = trip.restore();
  ASSERT_FALSE(restored.ok());
  EXPECT_NE(restored.error().text().find("not the terminal 5:1"), std::string::npos)
      << restored.error().text();
}

CR_TEST(tty, a_virtual_terminal_of_the_machine_is_opened_again) {
  test::Scratch scratch;
  const std::string path = scratch.file("vt");
  if (::mknod(path.c_str(), S_IFCHR | 0600, makedev(4, 5)) != 0) return;
  Fd terminal(::open(path.c_str(), O_RDWR | O_NOCTTY | O_NONBLOCK));
  if (!terminal.valid()) return;  // the machine has none, or the user namespace no devices
  checkpoint_restore();
  struct stat now {};
  ASSERT_EQ(::fstat(terminal.get(), &now), 0);
  EXPECT_EQ(now.st_rdev, makedev(4, 5));
  EXPECT_EQ(::isatty(terminal.get()), 1);
}

}  // namespace
}  // namespace ncr::tty
