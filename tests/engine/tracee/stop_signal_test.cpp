#include "engine/tracee/stop_signal.h"

#include <gtest/gtest.h>

#include <csignal>

namespace ncr {
namespace {

constexpr uint64_t bit(int signal) { return uint64_t{1} << (signal - 1); }

TEST(StopSignal, is_one_that_is_ignored_by_default) {
  const StopSignal chosen = choose_stop_signal({});
  EXPECT_EQ(chosen.number, SIGURG);
  EXPECT_FALSE(chosen.borrow);
}

TEST(StopSignal, is_none_that_is_caught_or_blocked_or_pending) {
  SignalUse use;
  use.caught = bit(SIGURG);
  EXPECT_EQ(choose_stop_signal(use).number, SIGWINCH);
  use.blocked = bit(SIGWINCH);
  EXPECT_EQ(choose_stop_signal(use).number, SIGCHLD);
  use.pending = bit(SIGCHLD);
  EXPECT_TRUE(choose_stop_signal(use).borrow);
  use.ignored = bit(SIGPIPE);
  EXPECT_EQ(choose_stop_signal(use).number, SIGPIPE);
}

TEST(StopSignal, is_no_stop_or_continue_or_fault_though_it_is_ignored) {
  SignalUse use;
  use.caught = bit(SIGURG) | bit(SIGWINCH) | bit(SIGCHLD);
  use.ignored = bit(SIGTSTP) | bit(SIGTTIN) | bit(SIGTTOU) | bit(SIGCONT) | bit(SIGSEGV) |
                bit(SIGTRAP) | bit(SIGSYS) | bit(SIGRTMIN);
  EXPECT_TRUE(choose_stop_signal(use).borrow);
}

TEST(StopSignal, is_borrowed_from_a_process_that_catches_all) {
  SignalUse use;
  use.caught = ~uint64_t{0};
  const StopSignal chosen = choose_stop_signal(use);
  EXPECT_TRUE(chosen.borrow);
  EXPECT_EQ(chosen.number, SIGSTKFLT);
  use.pending = bit(SIGSTKFLT);
  EXPECT_EQ(choose_stop_signal(use).number, SIGPWR);
  use.pending = ~uint64_t{0};
  EXPECT_EQ(choose_stop_signal(use).number, 0);
}

TEST(StopSignal, regards_all_threads) {
  SignalUse use;
  proc::Status first;
  first.blocked = bit(SIGURG);
  proc::Status second;
  second.shared_pending = bit(SIGWINCH);
  use.add(first);
  use.add(second);
  EXPECT_EQ(choose_stop_signal(use).number, SIGCHLD);
}

}  // namespace
}  // namespace ncr
