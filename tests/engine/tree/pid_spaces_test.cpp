#include "engine/tree/pid_spaces.h"

#include <gtest/gtest.h>

namespace ncr {
namespace {

void add_pair(schema::Namespace* record, pid_t of_root, pid_t here) {
  schema::PidPair* pair = record->mutable_pid()->add_numbers();
  pair->set_of_root(of_root);
  pair->set_here(here);
}

// The root's own is 1; 2 is below it, 3 below that.
std::vector<schema::Namespace> three_levels() {
  std::vector<schema::Namespace> records(3);
  for (uint32_t i = 0; i < 3; i++) {
    records[i].set_id(i + 1);
    records[i].set_parent(i);
    records[i].mutable_pid();
  }
  add_pair(&records[1], 100, 1);
  add_pair(&records[1], 101, 2);
  add_pair(&records[2], 101, 1);
  return records;
}

schema::Task task_in(uint32_t id) {
  schema::Task task;
  task.add_namespaces(id);
  return task;
}

TEST(pid_spaces, a_tree_without_any_has_one_number_each) {
  const PidSpaces spaces;
  EXPECT_FALSE(spaces.several());
  EXPECT_EQ(spaces.of(task_in(1)), 0u);
  EXPECT_EQ(spaces.numbers(0, 7), std::vector<pid_t>{7});
}

TEST(pid_spaces, numbers_are_listed_from_the_inside) {
  const PidSpaces spaces(three_levels(), task_in(1));
  EXPECT_EQ(spaces.of(task_in(1)), 0u);
  EXPECT_EQ(spaces.of(task_in(3)), 3u);
  EXPECT_EQ(spaces.depth(3), 2u);
  EXPECT_EQ(spaces.above(2), 0u);
  EXPECT_EQ(spaces.numbers(3, 101), (std::vector<pid_t>{1, 2, 101}));
  EXPECT_EQ(spaces.in(3, 100), 0);
  EXPECT_TRUE(spaces.is_taken(2));
  EXPECT_FALSE(spaces.is_taken(101));
}

TEST(pid_spaces, a_circle_in_a_damaged_image_ends) {
  std::vector<schema::Namespace> records = three_levels();
  records[1].set_parent(3);
  const PidSpaces spaces(records, task_in(1));
  EXPECT_LE(spaces.depth(3), 32u);
  EXPECT_LE(spaces.numbers(3, 101).size(), 33u);
}

}  // namespace
}  // namespace ncr
