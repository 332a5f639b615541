#include "engine/resources/blockers.h"

#include <gtest/gtest.h>

namespace ncr {
namespace {

TEST(blockers, are_one_error_with_a_line_for_each) {
  Blockers blockers;
  EXPECT_TRUE(blockers.empty());
  Task task;
  task.pid = 412;
  task.comm = "nginx";
  blockers.add(task, "fd 7: io_uring", "rings are not handled");
  EXPECT_EQ(blockers.as_error().text(),
            "1 thing of this tree cannot be dumped:\n  task 412 (nginx): fd 7: io_uring: rings are "
            "not handled");
  blockers.add(task, "terminal", "lies outside of the tree", "--shell-job helps");
  const Error error = blockers.as_error();
  EXPECT_EQ(error.code(), ErrorCode::kUnsupported);
  EXPECT_NE(error.text().find("2 things"), std::string::npos);
  EXPECT_NE(error.text().find("lies outside of the tree; --shell-job helps"), std::string::npos);
}

TEST(blockers, what_many_tasks_have_in_common_is_told_once) {
  Blockers blockers;
  Task task;
  task.comm = "worker";
  for (task.pid = 10; task.pid < 1010; task.pid++)
    blockers.add(task, "fd 3", "is of a kind that cannot be dumped", "close it");
  blockers.add(task, "fd 4", "is of another kind that cannot be dumped");
  EXPECT_EQ(blockers.list().size(), 1001u);
  EXPECT_EQ(blockers.as_error().text(),
            "2 things of this tree cannot be dumped:\n"
            "  task 10 (worker) and 999 more: fd 3: is of a kind that cannot be dumped; close it\n"
            "  task 1010 (worker): fd 4: is of another kind that cannot be dumped");
}

}  // namespace
}  // namespace ncr
