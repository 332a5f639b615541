#include "engine/tree/coordinator.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <thread>

namespace ncr {
namespace {

bool nobody(pid_t) { return false; }

TEST(coordinator, an_outcome_survives_the_way_over_the_pipe) {
  RestoreReport report;
  report.root_pid = 7;
  report.tasks = 2;
  report.threads = 3;
  report.pages_restored = 1ull << 40;
  report.phases = {{"read image", 5, 6}, {"plan", 11, 1}};
  Result<RestoreReport> back = decode_outcome(encode_outcome(report));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back.value().root_pid, 7);
  EXPECT_EQ(back.value().pages_restored, 1ull << 40);
  ASSERT_EQ(back.value().phases.size(), 2u);
  EXPECT_EQ(back.value().phases[0].name, "read image");
  EXPECT_EQ(back.value().phases[1].start_ns, 11u);
}

TEST(coordinator, an_error_survives_the_way_over_the_pipe) {
  Result<RestoreReport> back = decode_outcome(encode_outcome(Error::unsupported("fd 7: io_uring")));
  ASSERT_FALSE(back.ok());
  EXPECT_EQ(back.error().code(), ErrorCode::kUnsupported);
  EXPECT_EQ(back.error().text(), "fd 7: io_uring");
}

TEST(coordinator, half_an_outcome_is_an_error) {
  EXPECT_FALSE(decode_outcome("").ok());
  EXPECT_FALSE(decode_outcome(encode_outcome(RestoreReport{}).substr(0, 9)).ok());
}

TEST(coordinator, runs_its_body_in_a_child_with_all_signals_blocked) {
  pid_t us = ::getpid();
  auto outcome =
      run_coordinator({}, nobody, [us](const std::function<bool()>&) -> Result<RestoreReport> {
        sigset_t mask;
        ::sigprocmask(SIG_SETMASK, nullptr, &mask);
        if (::getppid() != us || !sigismember(&mask, SIGTERM)) return Error::usage("wrong place");
        RestoreReport report;
        report.root_pid = 12;
        return report;
      });
  ASSERT_TRUE(outcome.ok()) << outcome.error().text();
  EXPECT_EQ(outcome.value().root_pid, 12);
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "no child is left";
}

TEST(coordinator, avoids_numbers_that_the_tree_needs) {
  int refused = 0;
  pid_t used = 0;
  auto avoid = [&](pid_t pid) {
    used = pid;
    return ::getpid() != pid && refused++ < 3;
  };
  auto outcome = run_coordinator(
      {}, avoid,
      [](const std::function<bool()>&) -> Result<RestoreReport> { return RestoreReport{}; });
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(refused, 4);
}

TEST(coordinator, its_sudden_death_is_an_error) {
  auto outcome =
      run_coordinator({}, nobody, [](const std::function<bool()>&) -> Result<RestoreReport> {
        ::kill(::getpid(), SIGKILL);
        return RestoreReport{};
      });
  ASSERT_FALSE(outcome.ok());
  EXPECT_EQ(outcome.error().code(), ErrorCode::kGone);
}

TEST(coordinator, a_descriptor_that_stays_open_elsewhere_does_not_hold_it_up) {
  auto outcome =
      run_coordinator({}, nobody, [](const std::function<bool()>&) -> Result<RestoreReport> {
        if (::fork() == 0) {
          ::usleep(300'000);
          ::_exit(0);
        }
        RestoreReport report;
        report.root_pid = 5;
        return report;
      });
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(outcome.value().root_pid, 5);
}

TEST(coordinator, a_wish_to_cancel_reaches_the_body) {
  RestoreRequest request;
  std::atomic<int> asked = 0;
  request.callbacks.cancelled = [&] { return asked++ > 0; };
  auto outcome = run_coordinator(
      request, nobody, [](const std::function<bool()>& cancelled) -> Result<RestoreReport> {
        for (int i = 0; i < 1000 && !cancelled(); i++) ::usleep(5000);
        if (!cancelled()) return Error::usage("nobody cancelled");
        return Error(ErrorCode::kCancelled, "cancelled");
      });
  ASSERT_FALSE(outcome.ok());
  EXPECT_EQ(outcome.error().code(), ErrorCode::kCancelled);
}

TEST(coordinator, a_caller_with_threads_can_use_it) {
  std::atomic<bool> over = false;
  std::thread busy([&] {
    while (!over) delete new std::string(100, 'x');
  });
  for (int i = 0; i < 20; i++)
    EXPECT_TRUE(
        run_coordinator({}, nobody, [](const std::function<bool()>&) -> Result<RestoreReport> {
          RestoreReport report;
          report.phases = {{std::string(1000, 'y'), 1, 2}};
          return report;
        }).ok());
  over = true;
  busy.join();
}

}  // namespace
}  // namespace ncr
