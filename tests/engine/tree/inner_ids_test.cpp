#include "engine/tree/inner_ids.h"

#include <gtest/gtest.h>

namespace ncr {
namespace {

schema::UserNamespace rootless() {
  schema::UserNamespace space;
  auto add = [](schema::IdRange* range, uint32_t inside, uint32_t outside, uint32_t count) {
    range->set_inside(inside);
    range->set_outside(outside);
    range->set_count(count);
  };
  add(space.add_uids(), 0, 1000, 1);
  add(space.add_uids(), 1, 100000, 65536);
  add(space.add_gids(), 0, 1000, 1);
  return space;
}

TEST(inner_ids, ids_are_what_the_tree_sees) {
  const schema::UserNamespace space = rootless();
  const InnerIds ids(space);
  EXPECT_EQ(ids.uid(1000), 0u);
  EXPECT_EQ(ids.uid(100000), 1u);
  EXPECT_EQ(ids.uid(165535), 65536u);
  EXPECT_EQ(ids.uid(165536), 65534u) << "not mapped";
  EXPECT_EQ(ids.uid(0), 65534u);
  EXPECT_EQ(ids.gid(1000), 0u);
  EXPECT_EQ(ids.gid(1001), 65534u);
  EXPECT_EQ(ids.uid(~0u), ~0u) << "no id at all";
}

TEST(inner_ids, without_a_namespace_nothing_changes) {
  const InnerIds ids;
  EXPECT_EQ(ids.uid(1000), 1000u);
  schema::Task task;
  task.add_threads()->mutable_credentials()->add_groups(7);
  ids.translate(&task);
  EXPECT_EQ(task.threads(0).credentials().groups(0), 7u);
}

TEST(inner_ids, a_namespace_without_maps_has_nobody) {
  const schema::UserNamespace empty;
  EXPECT_EQ(InnerIds(empty).uid(0), 65534u);
}

TEST(inner_ids, groups_of_outside_are_left_out) {
  const schema::UserNamespace space = rootless();
  schema::Task task;
  schema::Credentials* credentials = task.add_threads()->mutable_credentials();
  for (uint32_t id : {1000u, 1000u, 100001u, 1000u}) credentials->add_uids(id);
  for (uint32_t id : {1000u, 1000u, 1000u, 1000u}) credentials->add_gids(id);
  for (uint32_t id : {27u, 1000u, 998u}) credentials->add_groups(id);
  InnerIds(space).translate(&task);
  EXPECT_EQ(credentials->uids(0), 0u);
  EXPECT_EQ(credentials->uids(2), 2u);
  EXPECT_EQ(credentials->gids(3), 0u);
  ASSERT_EQ(credentials->groups_size(), 1);
  EXPECT_EQ(credentials->groups(0), 0u);
}

TEST(inner_ids, owners_of_files_are_translated) {
  const schema::UserNamespace space = rootless();
  schema::OpenFile terminal;
  terminal.mutable_tty()->mutable_node()->set_uid(1000);
  terminal.mutable_tty()->mutable_node()->set_gid(5);
  InnerIds(space).translate(&terminal);
  EXPECT_EQ(terminal.tty().node().uid(), 0u);
  EXPECT_EQ(terminal.tty().node().gid(), 65534u);
  schema::MountNamespace mounts;
  mounts.add_file_systems()->add_nodes()->set_uid(100032);
  InnerIds(space).translate(&mounts);
  EXPECT_EQ(mounts.file_systems(0).nodes(0).uid(), 33u);
}

}  // namespace
}  // namespace ncr
