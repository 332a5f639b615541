#include "engine/tree/user_spaces.h"

#include <gtest/gtest.h>

namespace ncr {
namespace {

using Ranges = google::protobuf::RepeatedPtrField<schema::IdRange>;

void map(Ranges* ranges, uint32_t inside, uint32_t outside, uint32_t count) {
  schema::IdRange* range = ranges->Add();
  range->set_inside(inside);
  range->set_outside(outside);
  range->set_count(count);
}

schema::Namespace user(uint32_t id, uint32_t parent, uint32_t outside, uint32_t count) {
  schema::Namespace record;
  record.set_id(id);
  record.set_parent(parent);
  map(record.mutable_user()->mutable_uids(), 0, outside, count);
  map(record.mutable_user()->mutable_gids(), 0, outside + 5, count - 5);
  return record;
}

schema::Task task_in(uint32_t id) {
  schema::Task task;
  task.add_namespaces(id);
  return task;
}

// The root's own is 1; 3 is below it, 2 below that; 4 is of another kind.
std::vector<schema::Namespace> nested() {
  std::vector<schema::Namespace> records{user(1, 0, 100000, 1000), user(2, 3, 10, 20),
                                         user(3, 1, 500, 100)};
  records.emplace_back().set_id(4);
  records.back().mutable_net();
  records.back().set_owner(2);
  return records;
}

TEST(user_spaces, a_tree_without_any_numbers_everybody_alike) {
  const UserSpaces spaces;
  EXPECT_FALSE(spaces.several());
  EXPECT_EQ(spaces.of(task_in(1)), 0u);
  EXPECT_EQ(spaces.uid(0, 7), 7u);
}

TEST(user_spaces, that_of_the_root_is_the_first) {
  const std::vector<schema::Namespace> records = nested();
  const UserSpaces spaces(records, task_in(1));
  EXPECT_TRUE(spaces.several());
  EXPECT_EQ(spaces.of(task_in(1)), 0u);
  EXPECT_EQ(spaces.of(task_in(2)), 2u);
  EXPECT_EQ(spaces.above(3), 0u);
  EXPECT_EQ(spaces.depth(2), 2u);
  EXPECT_EQ(spaces.in_order(), (std::vector<uint32_t>{3, 2}));
  EXPECT_EQ(spaces.owner(records[3]), 2u);
  EXPECT_TRUE(spaces.is_within(2, 3));
  EXPECT_TRUE(spaces.is_within(2, 0));
  EXPECT_FALSE(spaces.is_within(3, 2));
}

TEST(user_spaces, ids_lead_through_every_level) {
  const std::vector<schema::Namespace> records = nested();
  const UserSpaces spaces(records, task_in(1));
  EXPECT_EQ(spaces.uid(3, 510), 10u);
  EXPECT_EQ(spaces.uid(2, 510), 0u);
  EXPECT_EQ(spaces.uid(2, 500), std::nullopt);
  EXPECT_EQ(spaces.gid(2, 520), 0u);
  EXPECT_EQ(spaces.uid_of_root(2, 1), 511u);
  EXPECT_EQ(spaces.uid_of_root(2, 20), std::nullopt);
  EXPECT_EQ(spaces.gid_of_root(2, 1), 521u);
  EXPECT_EQ(spaces.gid_of_root(0, 7), 7u);
}

TEST(user_spaces, maps_are_joined_to_those_above) {
  const std::vector<schema::Namespace> records = nested();
  const schema::UserNamespace maps = maps_from_outside(records, 2);
  ASSERT_EQ(maps.uids_size(), 1);
  EXPECT_EQ(maps.uids(0).inside(), 0u);
  EXPECT_EQ(maps.uids(0).outside(), 100510u);
  EXPECT_EQ(maps.uids(0).count(), 20u);
  EXPECT_EQ(maps_from_outside(records, 4).uids_size(), 0);
}

}  // namespace
}  // namespace ncr
