#include "engine/restore_plan.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include "engine/resources/room.h"

namespace ncr {
namespace {

class PlanRestore : public testing::Test {
 protected:
  PlanRestore() { add(100, 0); }
  schema::Task& add(pid_t pid, pid_t ppid) {
    schema::Task& task = image_.tasks.emplace_back();
    task.set_pid(pid);
    task.set_ppid(ppid);
    task.set_pgid(100);
    task.set_sid(100);
    task.add_threads()->set_tid(pid);
    return task;
  }
  schema::OpenFile& eventfd(uint32_t id) {
    image_.files[id].set_id(id);
    image_.files[id].mutable_eventfd();
    return image_.files[id];
  }

  Image image_;
  RestoreRequest request_;
};

TEST_F(PlanRestore, gives_every_thread_its_steps) {
  image_.tasks[0].add_threads()->set_tid(101);
  Result<RestorePlan> plan = plan_restore(image_, request_);
  ASSERT_TRUE(plan.ok()) << plan.error().text();
  EXPECT_EQ(plan.value().tasks[0].thread_steps.size(), 2u);
}

TEST_F(PlanRestore, a_zombie_has_no_steps) {
  schema::Task& zombie = add(101, 100);
  zombie.set_state(schema::TASK_ZOMBIE);
  zombie.clear_threads();
  Result<RestorePlan> plan = plan_restore(image_, request_);
  ASSERT_TRUE(plan.ok()) << plan.error().text();
  EXPECT_FALSE(plan.value().tasks[1].live());
  EXPECT_TRUE(plan.value().tasks[1].thread_steps.empty());
}

TEST_F(PlanRestore, memory_shared_between_processes_is_refused_by_name) {
  add(101, 100).mutable_memory()->set_shared_with(100);
  Result<RestorePlan> plan = plan_restore(image_, request_);
  ASSERT_FALSE(plan.ok());
  EXPECT_EQ(plan.error().code(), ErrorCode::kUnsupported);
  EXPECT_NE(plan.error().text().find("CLONE_VM"), std::string::npos);
}

TEST_F(PlanRestore, a_file_of_no_known_kind_is_refused_by_name) {
  image_.files[3].set_id(3);
  image_.files[3].set_path("anon_inode:[strange]");
  Result<RestorePlan> plan = plan_restore(image_, request_);
  ASSERT_FALSE(plan.ok());
  EXPECT_NE(plan.error().text().find("strange"), std::string::npos);
}

TEST_F(PlanRestore, a_file_that_signals_a_single_thread_is_refused_by_name) {
  eventfd(3).mutable_owner()->set_type(0);  // F_OWNER_TID
  image_.files[3].mutable_owner()->set_pid(777);
  Result<RestorePlan> plan = plan_restore(image_, request_);
  ASSERT_FALSE(plan.ok());
  EXPECT_EQ(plan.error().code(), ErrorCode::kUnsupported);
}

TEST_F(PlanRestore, a_live_task_without_threads_is_a_damaged_image) {
  image_.tasks[0].clear_threads();
  Result<RestorePlan> plan = plan_restore(image_, request_);
  ASSERT_FALSE(plan.ok());
  EXPECT_EQ(plan.error().code(), ErrorCode::kMalformed);
}

TEST_F(PlanRestore, an_empty_image_is_damaged) {
  image_.tasks.clear();
  Result<RestorePlan> plan = plan_restore(image_, request_);
  ASSERT_FALSE(plan.ok());
  EXPECT_EQ(plan.error().code(), ErrorCode::kMalformed);
}

}  // namespace
}  // namespace ncr
