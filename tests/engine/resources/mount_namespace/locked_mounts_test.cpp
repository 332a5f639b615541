#include "engine/resources/mount_namespace/locked_mounts.h"

#include <gtest/gtest.h>
#include <sys/mount.h>

namespace ncr::mount_namespace {
namespace {

enum class From { kAbove, kAboveAndLocked, kOwner };

// Mounts 1, 2 ... of a file system each.
class Table {
 public:
  Table& add(uint32_t parent, const std::string& point, From from,
             const std::string& type = "tmpfs") {
    schema::MountedFileSystem& system = *table_.add_file_systems();
    system.set_id(static_cast<uint32_t>(table_.file_systems_size()));
    system.set_type(type);
    system.set_origin(schema::MountedFileSystem::MADE);
    schema::Mount& mount = *table_.add_mounts();
    mount.set_id(system.id());
    mount.set_file_system(system.id());
    mount.set_parent(parent);
    mount.set_point(point);
    mount.set_locked(from == From::kAboveAndLocked);
    if (from != From::kOwner) mount.set_locked_attributes(MOUNT_ATTR__ATIME);
    return *this;
  }
  std::string judge() {
    std::vector<Refusal> refusals;
    judge_locks(&table_, &refusals);
    std::string all;
    for (const Refusal& refusal : refusals) all += refusal.object + ": " + refusal.reason + "\n";
    return all;
  }
  bool made_below(int index) const { return table_.file_systems(index).made_below(); }
  schema::MountedFileSystem* last() {
    return table_.mutable_file_systems(table_.file_systems_size() - 1);
  }

 private:
  schema::MountNamespace table_;
};

TEST(locked_mounts, what_the_owner_mounted_is_its_own) {
  Table table;
  table.add(0, "/", From::kAbove).add(1, "/dev", From::kAboveAndLocked);
  table.add(1, "/tmp", From::kOwner).add(1, "/sys", From::kOwner, "sysfs");
  EXPECT_EQ(table.judge(), "");
  EXPECT_FALSE(table.made_below(0));
  EXPECT_FALSE(table.made_below(1));
  EXPECT_TRUE(table.made_below(2));
  EXPECT_FALSE(table.made_below(3)) << "a view of the kernel belongs to nobody";
}

TEST(locked_mounts, what_a_locked_one_covers_holds_nothing_else) {
  Table table;
  table.add(0, "/", From::kAbove).add(1, "/", From::kAboveAndLocked).add(1, "/a", From::kOwner);
  EXPECT_NE(table.judge().find("mount / (tmpfs)"), std::string::npos);
  EXPECT_NE(table.judge().find("mount /a (tmpfs)"), std::string::npos);
  EXPECT_NE(table.judge().find("is covered by a mount that is locked to it"), std::string::npos);
}

TEST(locked_mounts, one_is_locked_only_to_what_came_with_it) {
  Table table;
  table.add(0, "/", From::kOwner).add(1, "/a", From::kAboveAndLocked);
  EXPECT_NE(table.judge().find("mount /a (tmpfs)"), std::string::npos);
}

TEST(locked_mounts, a_locked_procfs_of_processes_below_is_refused) {
  Table table;
  table.add(0, "/", From::kAbove).add(1, "/proc", From::kAboveAndLocked, "proc");
  table.last()->set_pid_namespace(7);
  EXPECT_NE(table.judge().find("mount /proc (proc)"), std::string::npos);
}

}  // namespace
}  // namespace ncr::mount_namespace
