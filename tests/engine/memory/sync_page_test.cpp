#include "engine/memory/sync_page.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

namespace ncr {
namespace {

Result<> fine() { return {}; }

TEST(SyncPage, every_thread_has_a_slot_of_its_own) {
  SyncPage page = SyncPage::create({2, 0, 3}).take();
  EXPECT_EQ(page.header().threads, 5u);
  EXPECT_EQ(&page.thread(2, 0), &page.thread(0, 0) + 2);
  EXPECT_LE(reinterpret_cast<char*>(&page.thread(2, 2) + 1),
            reinterpret_cast<char*>(&page.header()) + page.size());
}

TEST(SyncPage, a_counter_of_a_child_ends_the_wait) {
  SyncPage page = SyncPage::create({1}).take();
  pid_t pid = ::fork();
  if (pid == 0) {
    page.add(3, 2);
    ::_exit(0);
  }
  EXPECT_TRUE(page.wait(3, 2, fine).ok());
  ::waitpid(pid, nullptr, 0);
}

TEST(SyncPage, a_check_that_fails_ends_the_wait) {
  SyncPage page = SyncPage::create({1}).take();
  auto gone = []() -> Result<> { return Error::gone("a child"); };
  EXPECT_EQ(page.wait(0, 1, gone).error().code(), ErrorCode::kGone);
  EXPECT_EQ(page.wait_ready(gone).error().code(), ErrorCode::kGone);
}

TEST(SyncPage, who_waits_learns_of_the_abort) {
  SyncPage page = SyncPage::create({1}).take();
  page.abort();
  EXPECT_EQ(page.wait(0, 1, fine).error().code(), ErrorCode::kCancelled);
}

TEST(SyncPage, the_first_failure_is_the_one_reported) {
  SyncPage page = SyncPage::create({1, 1}).take();
  EXPECT_TRUE(page.failure(Image{}).ok());
  page.report_failure(1, Error::unsupported("first"));
  page.report_failure(0, Error::gone("second"));
  Result<> failure = page.failure(Image{});
  ASSERT_FALSE(failure.ok());
  EXPECT_EQ(failure.error().code(), ErrorCode::kUnsupported);
  EXPECT_EQ(failure.error().text(), "first");
  EXPECT_FALSE(page.wait_parked(fine).ok());
}

TEST(SyncPage, a_failed_thread_is_named_with_its_step) {
  SyncPage page = SyncPage::create({1, 2}).take();
  Image image;
  image.tasks.emplace_back().set_pid(77);
  image.tasks.back().set_comm("worker");
  page.task(1).pid = 77;
  wire::ThreadSlot& slot = page.thread(1, 1);
  slot = {.tid = 78,
          .state = static_cast<uint32_t>(wire::ThreadState::kFailed),
          .step = wire::id("memory_flags.SetMemoryFlags"),
          .error = 22,
          .detail = 0,
          .reserved = 0};
  Result<> failure = page.failure(image);
  ASSERT_FALSE(failure.ok());
  EXPECT_EQ(failure.error().os_error(), 22);
  EXPECT_EQ(failure.error().text(),
            "task 77 (worker): thread 78: memory_flags.SetMemoryFlags: Invalid argument");
}

}  // namespace
}  // namespace ncr
