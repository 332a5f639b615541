// Each test holds one child; root is not needed for a child of ours.
#include "engine/tracee/seized_thread.h"

#include <elf.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/proc.h"
#include "engine/tracee/remote_memory.h"
#include "tests/support/checkpoint_test.h"
#include "tests/support/scratch.h"

namespace ncr {
namespace {

class SeizedThreadTest : public testing::Test {
 protected:
  void TearDown() override {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  template <class F>
  void spawn(F body) {
    pid_ = ::fork();
    if (pid_ != 0) return;
    body();
    ::_exit(0);
  }
  SeizedThread stopped() {
    SeizedThread thread = MUST(SeizedThread::seize(pid_));
    MUST(thread.interrupt());
    MUST(thread.wait_stop());
    return thread;
  }
  proc::Status status() {
    return MUST(proc::parse_status(test::file_text(strf("/proc/%d/status", pid_))));
  }
  bool becomes(char state) {
    for (int i = 0; i < 5000 && status().state != state; i++) ::usleep(1000);
    return status().state == state;
  }
  pid_t pid_ = 0;
};

void spin() {
  for (volatile bool on = true; on;) {
  }
}

TEST_F(SeizedThreadTest, has_regsets_of_any_size_and_none_of_an_unknown_type) {
  spawn(spin);
  SeizedThread thread = stopped();
  std::vector<char> registers = MUST(thread.get_regset(NT_PRSTATUS));
  EXPECT_FALSE(registers.empty());
  MUST(thread.set_regset(NT_PRSTATUS, registers.data(), registers.size()));
  EXPECT_EQ(MUST(thread.get_regset(NT_PRSTATUS)), registers);
  EXPECT_TRUE(MUST(thread.get_regset(0x7777)).empty());
}

TEST_F(SeizedThreadTest, changes_the_signal_mask) {
  spawn(spin);
  SeizedThread thread = stopped();
  EXPECT_EQ(MUST(thread.signal_mask()), 0u);
  MUST(thread.set_signal_mask(1u << (SIGUSR1 - 1)));
  EXPECT_EQ(status().blocked, 1u << (SIGUSR1 - 1));
}

TEST_F(SeizedThreadTest, a_signal_that_arrives_first_is_delivered) {
  test::Scratch scratch;
  spawn([&] {
    static volatile sig_atomic_t received;
    ::signal(SIGUSR1, [](int) { received = 1; });
    test::append_to(scratch.file("ready"), "x");
    while (received == 0) ::usleep(100);
    test::append_to(scratch.file("received"), "x");
    spin();
  });
  while (!test::file_exists(scratch.file("ready"))) ::usleep(1000);
  {
    SeizedThread thread = MUST(SeizedThread::seize(pid_));
    ::kill(pid_, SIGUSR1);
    MUST(thread.interrupt());
    MUST(thread.wait_stop());
  }
  for (int i = 0; i < 5000 && !test::file_exists(scratch.file("received")); i++) ::usleep(1000);
  EXPECT_TRUE(test::file_exists(scratch.file("received")));
}

TEST_F(SeizedThreadTest, one_that_exited_is_gone_and_left_to_its_parent) {
  spawn(spin);
  SeizedThread thread = MUST(SeizedThread::seize(pid_));
  ::kill(pid_, SIGKILL);
  (void)thread.interrupt();
  Result<> waited = thread.wait_stop();
  ASSERT_FALSE(waited.ok());
  EXPECT_EQ(waited.error().code(), ErrorCode::kGone);
  int wait_status = 0;
  EXPECT_EQ(::waitpid(pid_, &wait_status, 0), pid_);
  EXPECT_EQ(WTERMSIG(wait_status), SIGKILL);
  EXPECT_EQ(SeizedThread::seize(std::exchange(pid_, 0)).error().code(), ErrorCode::kGone);
}

TEST_F(SeizedThreadTest, memory_is_read_written_and_patched) {
  static char bytes[] = "before";
  static const char kText[] = "constant";
  spawn(spin);
  SeizedThread thread = stopped();
  char got[sizeof kText] = "";
  const RemoteAddress data{reinterpret_cast<uint64_t>(bytes)};
  const RemoteAddress text{reinterpret_cast<uint64_t>(kText)};
  MUST(write_remote(pid_, data, "after!", 7));
  MUST(read_remote(pid_, data, got, 7));
  EXPECT_STREQ(got, "after!");
  EXPECT_FALSE(write_remote(pid_, text, "CONSTANT", 9).ok());
  MUST(MUST(RemotePatch::open(pid_)).write(text, "CONSTANT", 9));
  MUST(read_remote(pid_, text, got, 9));
  EXPECT_STREQ(got, "CONSTANT");
  EXPECT_STREQ(kText, "constant");
  Result<> beyond = read_remote(pid_, RemoteAddress{64}, got, 4);
  ASSERT_FALSE(beyond.ok());
  EXPECT_NE(beyond.error().text().find("0x40"), std::string::npos);
}

}  // namespace
}  // namespace ncr
