#include "engine/tree/pids.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>

namespace ncr {
namespace {

struct OneTask {
  explicit OneTask(pid_t pid) {
    record.set_pid(pid);
    record.add_threads()->set_tid(pid);
    plan.tasks.emplace_back().record = &record;
    plan.tasks[0].pid = pid;
  }
  schema::Task record;
  RestorePlan plan;
};

TEST(pids, a_number_in_use_is_refused_with_the_name_of_who_has_it) {
  OneTask given(::getpid());
  Result<> result = check_pids_free(given.plan);
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.error().text().find(std::to_string(::getpid())), std::string::npos);
  EXPECT_NE(result.error().text().find("ncr_tests"), std::string::npos) << result.error().text();
}

TEST(pids, what_is_dead_already_may_yet_be_collected) {
  const pid_t leader = ::fork();
  if (leader == 0) {
    ::setpgid(0, 0);
    ::_exit(0);
  }
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(leader), &info, WEXITED | WNOWAIT), 0);
  OneTask given(leader);
  std::thread collector([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    ::waitpid(leader, nullptr, 0);
  });
  Result<> result = check_pids_free(given.plan);
  collector.join();
  EXPECT_TRUE(result.ok()) << result.error().text();
}

TEST(pids, a_thread_that_has_the_number_is_named_with_its_process) {
  std::atomic<pid_t> tid = 0;
  std::atomic<bool> over = false;
  std::thread other([&] {
    tid = static_cast<pid_t>(::syscall(SYS_gettid));
    while (!over) std::this_thread::yield();
  });
  while (tid == 0) std::this_thread::yield();
  EXPECT_NE(holder_of(tid).find("of process " + std::to_string(::getpid())), std::string::npos);
  over = true;
  other.join();
}

TEST(pids, a_number_above_the_machines_limit_is_unsupported) {
  OneTask given(1 << 30);
  Result<> result = check_pids_free(given.plan);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code(), ErrorCode::kUnsupported);
}

TEST(pids, a_spare_number_is_never_one_of_the_image) {
  OneTask given(1);
  pid_t first = spare_pid(given.plan, 0).take();
  given.record.add_threads()->set_tid(first);
  EXPECT_NE(spare_pid(given.plan, 0).value(), first);
  EXPECT_NE(spare_pid(given.plan, 1).value(), spare_pid(given.plan, 0).value());
}

}  // namespace
}  // namespace ncr
