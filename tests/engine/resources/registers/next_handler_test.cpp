#include "engine/resources/registers/next_handler.h"

#include <gtest/gtest.h>

#include <csignal>

namespace ncr::registers {
namespace {

std::string info(int number) {
  siginfo_t siginfo{};
  siginfo.si_signo = number;
  return std::string(reinterpret_cast<const char*>(&siginfo), sizeof siginfo);
}

schema::Task task_with_handlers_of(std::initializer_list<int> numbers) {
  schema::Task task;
  task.add_threads();
  task.add_threads();
  for (int number : numbers) {
    schema::SignalAction* action = task.add_signal_actions();
    action->set_number(static_cast<uint32_t>(number));
    action->set_handler(0x1000);
  }
  return task;
}

TEST(next_handler, none_if_nothing_is_pending) {
  const schema::Task task = task_with_handlers_of({SIGUSR1});
  EXPECT_EQ(next_handler(task, task.threads(0)), nullptr);
}

TEST(next_handler, the_threads_own_come_before_the_processs) {
  schema::Task task = task_with_handlers_of({SIGHUP, SIGUSR1});
  *task.add_pending_signals() = info(SIGHUP);
  *task.mutable_threads(0)->add_pending_signals() = info(SIGUSR1);
  ASSERT_NE(next_handler(task, task.threads(0)), nullptr);
  EXPECT_EQ(next_handler(task, task.threads(0))->number(), static_cast<uint32_t>(SIGUSR1));
}

TEST(next_handler, a_blocked_or_ignored_signal_runs_none) {
  schema::Task task = task_with_handlers_of({SIGUSR1});
  *task.mutable_threads(0)->add_pending_signals() = info(SIGUSR1);
  task.mutable_threads(0)->set_signal_mask(1ull << (SIGUSR1 - 1));
  EXPECT_EQ(next_handler(task, task.threads(0)), nullptr);
  task.mutable_threads(0)->set_signal_mask(0);
  task.mutable_signal_actions(0)->set_handler(1);
  EXPECT_EQ(next_handler(task, task.threads(0)), nullptr);
}

TEST(next_handler, a_signal_of_the_process_goes_to_the_first_thread_that_takes_it) {
  schema::Task task = task_with_handlers_of({SIGUSR1});
  *task.add_pending_signals() = info(SIGUSR1);
  EXPECT_NE(next_handler(task, task.threads(0)), nullptr);
  EXPECT_EQ(next_handler(task, task.threads(1)), nullptr);
  task.mutable_threads(0)->set_signal_mask(~uint64_t{0});
  EXPECT_EQ(next_handler(task, task.threads(0)), nullptr);
  EXPECT_NE(next_handler(task, task.threads(1)), nullptr);
}

}  // namespace
}  // namespace ncr::registers
