#include "engine/resources/mount_namespace/memory_files.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <functional>

namespace ncr::mount_namespace {
namespace {

schema::MountedFileSystem sample() {
  schema::MountedFileSystem record;
  record.set_type("tmpfs");
  record.add_nodes()->set_mode(S_IFDIR | 0755);
  schema::FileNode* directory = record.add_nodes();
  directory->set_name("dir");
  directory->set_mode(S_IFDIR | 0700);
  schema::FileNode* file = record.add_nodes();
  file->set_parent(1);
  file->set_name("file");
  file->set_mode(S_IFREG | 0644);
  file->set_size(4);
  file->set_data("ab");
  schema::FileNode* link = record.add_nodes();
  link->set_name("second");
  link->set_link_of(2);
  return record;
}

std::string failure(const std::function<void(schema::MountedFileSystem&)>& damage) {
  schema::MountedFileSystem record = sample();
  damage(record);
  Result<> checked = check_nodes(record);
  EXPECT_TRUE(checked.ok() || checked.error().code() == ErrorCode::kMalformed);
  return checked.ok() ? "" : checked.error().text();
}

TEST(memory_files, what_can_be_made_is_accepted) {
  EXPECT_EQ(failure([](auto&) {}), "");
  EXPECT_EQ(failure([](auto& r) { r.clear_nodes(); }), "");
}

TEST(memory_files, names_that_lead_elsewhere_are_refused) {
  for (const char* name : {"", ".", "..", "../x", "a/b", "/etc"})
    EXPECT_NE(failure([&](auto& r) { r.mutable_nodes(2)->set_name(name); }), "") << name;
  EXPECT_NE(failure([](auto& r) { r.mutable_nodes(2)->set_name(std::string("a\0b", 3)); }), "");
}

TEST(memory_files, a_damaged_order_is_refused) {
  EXPECT_NE(failure([](auto& r) { r.mutable_nodes(0)->set_mode(S_IFREG); }), "");
  EXPECT_NE(failure([](auto& r) { r.mutable_nodes(1)->set_parent(1); }), "");
  EXPECT_NE(failure([](auto& r) { r.mutable_nodes(1)->set_parent(77); }), "");
  EXPECT_NE(failure([](auto& r) { r.mutable_nodes(3)->set_parent(2); }), "");
  EXPECT_NE(failure([](auto& r) { r.mutable_nodes(3)->set_link_of(3); }), "");
  EXPECT_NE(failure([](auto& r) { r.mutable_nodes(2)->set_mode(0); }), "");
  EXPECT_NE(failure([](auto& r) { r.mutable_nodes(2)->set_size(1); }), "");
}

}  // namespace
}  // namespace ncr::mount_namespace
