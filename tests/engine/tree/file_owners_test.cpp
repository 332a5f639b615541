#include "engine/tree/file_owners.h"

#include <gtest/gtest.h>

#include "engine/tree/fork_order.h"

namespace ncr {
namespace {

// A tree of one session: 1 -> (2 -> (4, 5), 3).
class FileOwners : public testing::Test {
 protected:
  FileOwners() { add(1, 0), add(2, 1), add(3, 1), add(4, 2), add(5, 2); }
  void add(pid_t pid, pid_t ppid) {
    schema::Task task;
    task.set_pid(pid);
    task.set_ppid(ppid);
    task.set_pgid(1);
    task.set_sid(1);
    tasks_.push_back(task);
  }
  schema::Task& task(pid_t pid) { return tasks_[static_cast<size_t>(pid - 1)]; }
  schema::OpenFile& file(uint32_t id) {
    files_[id].set_id(id);
    return files_[id];
  }
  void use(pid_t pid, int number, uint32_t id) {
    schema::Descriptor* descriptor = task(pid).add_descriptors();
    descriptor->set_number(number);
    descriptor->set_file_id(id);
  }
  Result<> assign() {
    std::vector<const schema::Task*> records;
    for (const schema::Task& task : tasks_) records.push_back(&task);
    plan_.tasks = plan_forks(records, PidSpaces(), ShellJob::kRefuse).take();
    return assign_files(files_, &plan_);
  }
  std::vector<uint32_t> owned(pid_t pid) const {
    for (const TaskPlan& task : plan_.tasks)
      if (task.pid == pid) return task.owned_files;
    return {};
  }

  std::vector<schema::Task> tasks_;
  std::unordered_map<uint32_t, schema::OpenFile> files_;
  RestorePlan plan_;
};

using Ids = std::vector<uint32_t>;

TEST_F(FileOwners, a_file_of_one_task_is_made_by_it) {
  file(7);
  use(4, 3, 7);
  ASSERT_TRUE(assign().ok());
  EXPECT_EQ(owned(4), Ids{7});
}

TEST_F(FileOwners, a_shared_file_is_made_by_the_lowest_common_ancestor) {
  file(7), file(8);
  use(4, 3, 7), use(5, 9, 7);
  use(4, 4, 8), use(3, 4, 8);
  ASSERT_TRUE(assign().ok());
  EXPECT_EQ(owned(2), Ids{7});
  EXPECT_EQ(owned(1), Ids{8});
}

TEST_F(FileOwners, both_ends_of_a_pipe_are_made_together) {
  file(7).set_group_id(70), file(8).set_group_id(70);
  use(4, 3, 7), use(3, 3, 8);
  ASSERT_TRUE(assign().ok());
  EXPECT_EQ(owned(1), (Ids{7, 8}));
}

TEST_F(FileOwners, what_a_file_depends_on_comes_first) {
  file(3).add_depends_on(9), file(9);
  use(4, 3, 3), use(5, 3, 9);
  ASSERT_TRUE(assign().ok());
  EXPECT_EQ(owned(2), (Ids{9, 3}));
}

TEST_F(FileOwners, a_file_only_in_flight_is_made_with_its_carrier) {
  file(3).add_depends_on(9), file(9);
  use(4, 3, 3);
  ASSERT_TRUE(assign().ok());
  EXPECT_EQ(owned(4), (Ids{9, 3}));
}

TEST_F(FileOwners, files_in_flight_in_each_other_are_still_ordered) {
  file(3).add_depends_on(9), file(9).add_depends_on(3);
  use(4, 3, 3);
  ASSERT_TRUE(assign().ok());
  EXPECT_EQ(owned(4).size(), 2u);
}

TEST_F(FileOwners, mapped_files_and_executables_count_as_used) {
  file(3), file(4);
  task(4).mutable_memory()->add_vmas()->set_file_id(3);
  task(5).mutable_memory()->set_exe_file_id(4);
  ASSERT_TRUE(assign().ok());
  EXPECT_EQ(owned(4), Ids{3});
  EXPECT_EQ(owned(5), Ids{4});
}

TEST_F(FileOwners, service_descriptors_lie_above_every_number_of_the_image) {
  file(3), file(4);
  use(4, 500, 3);
  task(4).mutable_memory()->set_exe_file_id(4);
  ASSERT_TRUE(assign().ok());
  EXPECT_EQ(plan_.tasks[3].exe_fd, 501);
  EXPECT_EQ(plan_.tasks[3].procfs_fd, 502);
  EXPECT_EQ(plan_.service_fd_base, 503);
}

TEST_F(FileOwners, a_task_in_its_parents_table_owns_nothing) {
  file(3);
  task(4).set_files_shared_with(2);
  use(4, 3, 3), use(2, 3, 3);
  ASSERT_TRUE(assign().ok());
  EXPECT_EQ(owned(2), Ids{3});
  EXPECT_TRUE(plan_.tasks[3].shares_files);
}

TEST_F(FileOwners, a_table_shared_by_cousins_is_refused_by_name) {
  task(4).set_files_shared_with(3);
  Result<> result = assign();
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code(), ErrorCode::kUnsupported);
}

TEST_F(FileOwners, a_missing_file_is_a_damaged_image) {
  use(4, 3, 3);
  Result<> result = assign();
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code(), ErrorCode::kMalformed);
}

TEST(file_owners, a_helper_owns_nothing) {
  std::vector<schema::Task> tasks(3);
  for (int i = 0; i < 3; i++) {
    tasks[static_cast<size_t>(i)].set_pid(i + 1);
    tasks[static_cast<size_t>(i)].set_ppid(i == 0 ? 0 : 1);
    tasks[static_cast<size_t>(i)].set_pgid(i == 0 ? 1 : 77);
    tasks[static_cast<size_t>(i)].set_sid(i == 0 ? 1 : 77);
    if (i > 0) tasks[static_cast<size_t>(i)].add_descriptors()->set_file_id(5);
  }
  std::unordered_map<uint32_t, schema::OpenFile> files;
  files[5].set_id(5);
  RestorePlan plan;
  plan.tasks = plan_forks({&tasks[0], &tasks[1], &tasks[2]}, PidSpaces(), ShellJob::kRefuse).take();
  ASSERT_TRUE(assign_files(files, &plan).ok());
  EXPECT_EQ(plan.tasks[0].owned_files, Ids{5});
}

}  // namespace
}  // namespace ncr
