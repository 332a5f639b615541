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

}  // namespace
}  // namespace ncr
