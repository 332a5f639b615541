#include "engine/resources/mount_namespace/mount_table.h"

#include <gtest/gtest.h>

#include "tests/engine/resources/mount_namespace/sample_tables.h"

namespace ncr::mount_namespace {
namespace {

struct Described {
  schema::MountNamespace table;
  std::vector<Refusal> refusals;

  const schema::Mount& at(const std::string& point) const {
    for (const schema::Mount& mount : table.mounts())
      if (mount.point() == point) return mount;
    ADD_FAILURE() << "nothing is mounted at " << point;
    return table.mounts(0);
  }
  const schema::MountedFileSystem& file_system_at(const std::string& point) const {
    return table.file_systems(static_cast<int>(at(point).file_system()) - 1);
  }
  bool refuses(const std::string& object) const {
    for (const Refusal& refusal : refusals)
      if (refusal.object.find(object) != std::string::npos) return true;
    return false;
  }
};

Described describe(const std::string& tree, const DumpRequest& request = {},
                   const std::string& own = kMachine) {
  Described described;
  const std::vector<MountLine> lines = parse_mountinfo(tree).take();
  Result<schema::MountNamespace> table = describe_table(
      lines, parse_mountinfo(own).take(), request,
      {request.root.empty() ? nullptr : root_of(lines), nullptr}, &described.refusals);
  EXPECT_TRUE(table.ok()) << table.error().text();
  if (table.ok()) described.table = table.take();
  return described;
}

TEST(mount_table, of_a_container_what_the_machine_has_not_is_made_again) {
  Described described = describe(kContainer);
  EXPECT_EQ(described.table.mounts_size(), 13);
  EXPECT_TRUE(described.refusals.empty());
  EXPECT_EQ(described.table.mounts(0).point(), "/");
  EXPECT_EQ(described.table.mounts(0).parent(), 0u);
  EXPECT_EQ(described.file_system_at("/").origin(), schema::MountedFileSystem::HOST);
  EXPECT_EQ(described.file_system_at("/").host_point(), "/");
  EXPECT_EQ(described.file_system_at("/dev").origin(), schema::MountedFileSystem::MADE);
  EXPECT_EQ(described.file_system_at("/dev").options(), "rw,size=65536k,mode=755");
  EXPECT_EQ(described.at("/proc/keys").file_system(), described.at("/dev").file_system());
  EXPECT_EQ(described.file_system_at("/sys/fs/cgroup/cpu").host_point(), "/sys/fs/cgroup/cpu");
}

TEST(mount_table, parents_come_before_what_is_mounted_on_them) {
  Described described = describe(
      "9 8 0:50 / /a/b rw - tmpfs x rw\n"
      "8 7 0:51 / /a rw - tmpfs x rw\n"
      "7 1 254:0 / / rw - ext4 /dev/vda rw\n");
  ASSERT_EQ(described.table.mounts_size(), 3);
  EXPECT_EQ(described.table.mounts(0).id(), 7u);
  EXPECT_EQ(described.table.mounts(1).id(), 8u);
  EXPECT_EQ(described.table.mounts(2).id(), 9u);
}

TEST(mount_table, a_mount_named_external_keeps_its_key_only) {
  DumpRequest request;
  request.root = "/bundle/rootfs";
  request.externals = {{"mnt", "/data", "volume"},
                       {"mnt", "/other/", "second"},
                       {"mnt", "/proc/keys", "/dev/null"},
                       {"mnt", "/proc/keys", "/dev/null"}};
  Described described = describe(std::string(kContainer) +
                                     "90 67 254:0 /srv /data rw - ext4 /dev/vda rw\n"
                                     "91 67 254:0 /opt /other rw - ext4 /dev/vda rw\n",
                                 request);
  EXPECT_TRUE(described.at("/data").external());
  EXPECT_EQ(described.at("/data").external_key(), "volume");
  EXPECT_EQ(described.at("/other").external_key(), "second");
  EXPECT_EQ(described.at("/proc/keys").external_key(), "/dev/null");
  EXPECT_TRUE(described.refusals.empty());
}

TEST(mount_table, what_another_namespace_has_where_an_external_mount_is_stays_its_own) {
  const std::string root = "7 1 254:0 / / rw - ext4 /dev/vda rw\n";
  const std::vector<MountLine> of_root =
      parse_mountinfo(root + "8 7 0:50 / /data rw - tmpfs x rw\n").take();
  DumpRequest request;
  request.externals = {{"mnt", "/data", "volume"}, {"mnt", "/more", "second"}};
  auto external = [&](const char* device, const char* point) {
    const std::vector<MountLine> lines =
        parse_mountinfo(root + strf("9 7 %s / %s rw - tmpfs x rw\n", device, point)).take();
    std::vector<Refusal> refusals;
    return describe_table(lines, {}, request, {nullptr, &of_root}, &refusals)
        .take()
        .mounts(1)
        .external();
  };
  EXPECT_TRUE(external("0:50", "/data"));
  EXPECT_FALSE(external("0:51", "/data"));
  EXPECT_TRUE(external("0:51", "/more")) << "only this one has it";
}

TEST(mount_table, a_disk_of_the_machine_below_a_given_root_must_be_external) {
  DumpRequest request;
  request.root = "/bundle/rootfs";
  const std::string tree = std::string(kContainer) +
                           "90 67 254:0 /srv /data rw - ext4 /dev/vda rw\n"
                           "91 67 254:0 /bundle/rootfs/usr /lib rw - ext4 /dev/vda rw\n";
  Described described = describe(tree, request);
  EXPECT_TRUE(described.refuses("mount /data"));
  EXPECT_FALSE(described.refuses("mount /lib"));
  EXPECT_EQ(described.refusals.size(), 1u);
  EXPECT_EQ(described.refusals[0].way_out, "--external mnt[/data]:KEY");
  request.externals = {{"mnt", "/data", "volume"}};
  EXPECT_TRUE(describe(tree + "92 67 254:0 /srv/logs /logs rw - ext4 /dev/vda rw\n", request)
                  .refusals.empty())
      << "a part of an external mount";
  request.externals.clear();
  request.external_mounts_auto = true;
  EXPECT_TRUE(describe(tree, request).refusals.empty());
  EXPECT_TRUE(describe(tree).refusals.empty());
}

TEST(mount_table, more_of_the_roots_file_system_than_a_restore_is_given_is_refused) {
  DumpRequest request;
  request.root = "/bundle/rootfs";
  Described described = describe(
      "7 1 0:50 /part / rw - tmpfs x rw\n"
      "8 7 0:50 / /all rw - tmpfs x rw\n"
      "9 7 0:50 /part/of /part rw - tmpfs x rw\n",
      request);
  EXPECT_TRUE(described.refuses("mount /all"));
  EXPECT_FALSE(described.refuses("mount /part"));
}

TEST(mount_table, what_cannot_be_mounted_again_is_refused_by_name) {
  Described described = describe(std::string(kContainer) +
                                 "90 67 0:90 / /a rw - nfs4 server:/ rw\n"
                                 "91 67 0:91 / /b rw - fuse.sshfs x rw\n"
                                 "92 67 0:92 / /c rw - strange x rw\n"
                                 "93 67 254:0 /gone//deleted /d rw - ext4 /dev/vda rw\n"
                                 "94 67 0:94 / /e rw,idmapped - tmpfs x rw\n"
                                 "95 67 8:1 / /f rw - ext4 /dev/sda1 rw\n");
  for (const char* name : {"mount /a", "mount /b", "mount /c", "mount /e"})
    EXPECT_TRUE(described.refuses(name)) << name;
  EXPECT_EQ(described.refusals.size(), 4u);
  EXPECT_TRUE(described.at("/d").has_removed());
  EXPECT_EQ(described.at("/d").root(), "/gone");
}

TEST(mount_table, groups_that_reach_outside_are_marked) {
  Described described = describe(
      "7 1 254:0 / / rw shared:1 - ext4 /dev/vda rw\n"
      "8 7 0:51 / /a rw shared:5 - tmpfs x rw\n"
      "9 7 0:51 / /b rw master:5 - tmpfs x rw\n"
      "10 7 254:0 /x /c rw master:2 - ext4 /dev/vda rw\n",
      {}, "27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n");
  EXPECT_TRUE(described.at("/").peers_outside());
  EXPECT_FALSE(described.at("/a").peers_outside());
  EXPECT_FALSE(described.at("/b").master_outside());
  EXPECT_TRUE(described.at("/c").master_outside());
}

TEST(mount_table, owners_in_options_are_numbered_as_inside) {
  schema::UserNamespace space;
  for (auto* ranges : {space.mutable_uids(), space.mutable_gids()}) {
    schema::IdRange* range = ranges->Add();
    range->set_outside(100000);
    range->set_count(1000);
  }
  schema::MountNamespace table;
  for (const char* options : {"rw,gid=100005,mode=620", "rw,uid=7,gid=100000", "uid=x,size=1k", ""})
    table.add_file_systems()->set_options(options);
  for (schema::MountedFileSystem& file_system : *table.mutable_file_systems())
    number_owners(space, &file_system);
  EXPECT_EQ(table.file_systems(0).options(), "rw,gid=5,mode=620");
  EXPECT_EQ(table.file_systems(1).options(), "rw,gid=0");
  EXPECT_EQ(table.file_systems(2).options(), "size=1k");
  EXPECT_EQ(table.file_systems(3).options(), "");
}

TEST(mount_table, a_table_without_a_root_or_with_a_circle_does_no_harm) {
  std::vector<Refusal> refusals;
  EXPECT_FALSE(describe_table({}, {}, {}, {}, &refusals).ok());
  Described described = describe(
      "7 1 254:0 / / rw - ext4 /dev/vda rw\n"
      "8 9 0:51 / /a rw - tmpfs x rw\n"
      "9 8 0:51 / /b rw - tmpfs x rw\n"
      "10 10 0:51 / /c rw - tmpfs x rw\n");
  EXPECT_EQ(described.table.mounts_size(), 1);
}

}  // namespace
}  // namespace ncr::mount_namespace
