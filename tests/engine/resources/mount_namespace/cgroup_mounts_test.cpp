#include "engine/resources/mount_namespace/cgroup_mounts.h"

#include <gtest/gtest.h>

namespace ncr::mount_namespace {
namespace {

struct Sample {
  schema::CgroupNamespace space;
  schema::MountNamespace table;

  void root(const char* controllers, const char* path) {
    schema::CgroupNamespaceRoot* added = space.add_roots();
    added->set_controllers(controllers);
    added->set_path(path);
  }
  void file_system(const char* type, const char* options) {
    schema::MountedFileSystem* added = table.add_file_systems();
    added->set_id(static_cast<uint32_t>(table.file_systems_size()));
    added->set_type(type);
    added->set_options(options);
    added->set_origin(schema::MountedFileSystem::HOST);
  }
  void mount(uint32_t file_system, const char* root) {
    schema::Mount* added = table.add_mounts();
    added->set_file_system(file_system);
    added->set_root(root);
  }
};

TEST(cgroup_mounts, the_root_of_the_namespace_becomes_the_root_of_the_mount) {
  Sample sample;
  sample.root("memory", "/box");
  sample.root("", "/user/box");
  sample.file_system("cgroup", "rw,memory");
  sample.file_system("cgroup2", "rw,nsdelegate");
  sample.mount(1, "/box/inner");
  sample.mount(2, "/user/box");
  see_from(sample.space, &sample.table);
  EXPECT_EQ(sample.table.mounts(0).root(), "/inner");
  EXPECT_EQ(sample.table.mounts(1).root(), "/");
  for (const schema::MountedFileSystem& each : sample.table.file_systems())
    EXPECT_EQ(each.origin(), schema::MountedFileSystem::MADE);
}

TEST(cgroup_mounts, what_shows_more_than_the_namespace_stays) {
  Sample sample;
  sample.root("cpu,cpuacct", "/box");
  sample.root("memory", "/");
  sample.file_system("cgroup", "rw,cpu,cpuacct");
  sample.file_system("cgroup", "rw,memory");
  sample.file_system("tmpfs", "rw,cpu,cpuacct");
  sample.mount(1, "/box");
  sample.mount(1, "/");
  sample.mount(2, "/box");
  sample.mount(3, "/box");
  see_from(sample.space, &sample.table);
  EXPECT_EQ(sample.table.mounts(0).root(), "/box");
  EXPECT_EQ(sample.table.mounts(2).root(), "/box");
  EXPECT_EQ(sample.table.mounts(3).root(), "/box");
  for (const schema::MountedFileSystem& each : sample.table.file_systems())
    EXPECT_EQ(each.origin(), schema::MountedFileSystem::HOST);
}

}  // namespace
}  // namespace ncr::mount_namespace
