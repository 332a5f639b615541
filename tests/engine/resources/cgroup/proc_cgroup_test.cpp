#include "engine/resources/cgroup/proc_cgroup.h"

#include <gtest/gtest.h>

namespace ncr::cgroup {
namespace {

TEST(ProcCgroup, reads_v1_v2_and_named_hierarchies) {
  Result<std::vector<Membership>> parsed =
      parse_memberships("9:name=systemd:/a\n3:cpu,cpuacct:/b/c:d e\n0::/\n");
  ASSERT_TRUE(parsed.ok());
  ASSERT_EQ(parsed.value().size(), 3u);
  EXPECT_EQ(parsed.value()[0].controllers, "name=systemd");
  EXPECT_EQ(parsed.value()[1].controllers, "cpu,cpuacct");
  EXPECT_EQ(parsed.value()[1].path, "/b/c:d e");
  EXPECT_EQ(parsed.value()[2].controllers, "");
  EXPECT_EQ(parsed.value()[2].path, "/");
}

TEST(ProcCgroup, refuses_what_is_no_membership) {
  for (const char* text : {"nonsense\n", "1:cpu\n", "1:cpu:\n", "1:cpu:relative\n"})
    EXPECT_FALSE(parse_memberships(text).ok()) << text;
}

TEST(ProcCgroup, finds_cgroup_mounts_among_others) {
  const std::vector<CgroupMount> mounts = parse_cgroup_mounts(
      "23 1 0:22 / /proc rw shared:5 - proc proc rw\n"
      "32 31 0:29 / /sys/fs/cg\\040roup/cpu rw,relatime shared:1 master:2 - cgroup cgroup "
      "rw,cpu,cpuacct\n"
      "37 31 0:37 /docker /x rw - cgroup cgroup rw,xattr,name=systemd\n"
      "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n");
  ASSERT_EQ(mounts.size(), 3u);
  EXPECT_EQ(mounts[0].mount_point, "/sys/fs/cg roup/cpu");
  EXPECT_EQ(mounts[0].device, "0:29");
  EXPECT_TRUE(controllers_within("cpuacct,cpu", mounts[0].controllers));
  EXPECT_EQ(mounts[1].root, "/docker");
  EXPECT_TRUE(controllers_within("name=systemd", mounts[1].controllers));
  EXPECT_FALSE(controllers_within("", mounts[1].controllers)) << "v2 is not v1";
  EXPECT_TRUE(controllers_within("", mounts[2].controllers));
}

TEST(ProcCgroup, controllers_are_a_set) {
  EXPECT_TRUE(same_controllers("cpu,cpuacct", "cpuacct,cpu"));
  EXPECT_FALSE(same_controllers("cpu", "cpu,cpuacct"));
  EXPECT_FALSE(same_controllers("cpu", ""));
  EXPECT_TRUE(same_controllers("", ""));
}

TEST(ProcCgroup, a_path_is_taken_apart_at_names_only) {
  std::string part;
  EXPECT_TRUE(path_below("/a/b/c", "/a", &part));
  EXPECT_EQ(part, "/b/c");
  EXPECT_TRUE(path_below("/a", "/a", &part));
  EXPECT_EQ(part, "");
  EXPECT_TRUE(path_below("/a", "/", &part));
  EXPECT_EQ(part, "/a");
  EXPECT_TRUE(path_below("/", "/", &part));
  EXPECT_EQ(part, "");
  EXPECT_FALSE(path_below("/ab", "/a", &part));
  EXPECT_FALSE(path_below("/", "/a", &part));
  EXPECT_TRUE(path_above("/a/b/c", "/c", &part));
  EXPECT_EQ(part, "/a/b");
  EXPECT_TRUE(path_above("/a", "/a", &part));
  EXPECT_EQ(part, "/");
  EXPECT_TRUE(path_above("/a/b", "/", &part));
  EXPECT_EQ(part, "/a/b");
  EXPECT_FALSE(path_above("/a/b", "/c", &part));
}

TEST(ProcCgroup, only_plain_paths_are_followed) {
  for (const char* good : {"/", "/a", "/a/b.c", "/..a/b"}) EXPECT_TRUE(is_plain_path(good)) << good;
  for (const char* bad : {"", "a", "/a/", "//a", "/a//b", "/..", "/a/../b", "/./a", "/a\nb"})
    EXPECT_FALSE(is_plain_path(bad)) << bad;
  EXPECT_FALSE(is_plain_path(std::string_view("/a\0b", 4)));
}

}  // namespace
}  // namespace ncr::cgroup
