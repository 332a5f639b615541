#include "frontends/criu/values.h"

#include <gtest/gtest.h>
#include <sched.h>

namespace criu {
namespace {

TEST(criu_values, an_external_is_a_kind_an_object_and_a_value) {
  nativecr::External external;
  ASSERT_TRUE(parse_external("mnt[/dev]:ZDTM_DEV", &external).ok());
  EXPECT_EQ(external.kind, "mnt");
  EXPECT_EQ(external.object, "/dev");
  EXPECT_EQ(external.value, "ZDTM_DEV");
  ASSERT_TRUE(parse_external("tty[8800:1]", &external).ok());
  EXPECT_EQ(external.object, "8800:1");
  EXPECT_EQ(external.value, "");
  ASSERT_TRUE(parse_external("net[4026531840]:extRootNetNS", &external).ok());
  EXPECT_EQ(external.value, "extRootNetNS");
  ASSERT_TRUE(parse_external("veth[eth0]:host@br0", &external).ok());
  EXPECT_EQ(external.value, "host@br0");
}

TEST(criu_values, what_is_given_for_a_mount_lies_below_the_root) {
  const std::vector<nativecr::External> externals =
      located({{"mnt", "KEY", "srv/data"}, {"mnt", "KEY", "/srv"}, {"net", "KEY", "name"}});
  EXPECT_EQ(externals[0].value, "/srv/data");
  EXPECT_EQ(externals[1].value, "/srv");
  EXPECT_EQ(externals[2].value, "name");
}

TEST(criu_values, what_is_no_external_is_refused) {
  nativecr::External external;
  for (const char* text :
       {"", "[", "mnt", "mnt[", "mnt]", "[x]:y", "mnt[x", "mnt[x]y", "soup[x]:y"})
    EXPECT_FALSE(parse_external(text, &external).ok()) << text;
}

TEST(criu_values, an_inherited_descriptor_is_a_number_and_a_key) {
  nativecr::InheritedFd inherited;
  ASSERT_TRUE(parse_inherit_fd("fd[7]:pipe:[123]", &inherited).ok());
  EXPECT_EQ(inherited.fd, 7);
  EXPECT_EQ(inherited.key, "pipe:[123]");
  for (const char* text : {"", "fd[]:x", "fd[-1]:x", "fd[7]", "fd[7]:", "fd[a]:x", "7:x"})
    EXPECT_FALSE(parse_inherit_fd(text, &inherited).ok()) << text;
}

TEST(criu_values, a_namespace_is_joined_by_file_or_by_process) {
  nativecr::JoinedNamespace joined;
  ASSERT_TRUE(parse_join_ns("net:/run/netns/a:b", &joined).ok());
  EXPECT_EQ(joined.kind, "net");
  EXPECT_EQ(joined.path, "/run/netns/a:b");
  ASSERT_TRUE(parse_join_ns("ipc:17", &joined).ok());
  EXPECT_EQ(joined.path, "/proc/17/ns/ipc");
  for (const char* text : {"", "net", "net:", ":x", "tea:/x"})
    EXPECT_FALSE(parse_join_ns(text, &joined).ok()) << text;
}

TEST(criu_values, a_cgroup_root_may_name_its_controllers) {
  nativecr::CgroupRoot root;
  ASSERT_TRUE(parse_cgroup_root("cpu,cpuacct:/a:b", &root).ok());
  EXPECT_EQ(root.controllers, "cpu,cpuacct");
  EXPECT_EQ(root.path, "/a:b");
  ASSERT_TRUE(parse_cgroup_root("/lxc/x:y", &root).ok());
  EXPECT_EQ(root.controllers, "");
  EXPECT_EQ(root.path, "/lxc/x:y");
  for (const char* text : {"", "cpu", "cpu:", "cpu:rel"})
    EXPECT_FALSE(parse_cgroup_root(text, &root).ok()) << text;
}

TEST(criu_values, only_a_net_namespace_can_be_left_empty) {
  uint64_t flags = 0;
  EXPECT_TRUE(parse_empty_ns("net", &flags).ok());
  EXPECT_EQ(flags, uint64_t{CLONE_NEWNET});
  EXPECT_FALSE(parse_empty_ns("mnt", &flags).ok());
  EXPECT_FALSE(parse_empty_ns("", &flags).ok());
}

TEST(criu_values, numbers_have_limits) {
  long number = 0;
  EXPECT_TRUE(parse_number("-5", -10, 10, &number).ok());
  EXPECT_EQ(number, -5);
  for (const char* text : {"", "-", "1x", "0x1", "11", "-11", "99999999999999999999"})
    EXPECT_FALSE(parse_number(text, -10, 10, &number).ok()) << text;
}

}  // namespace
}  // namespace criu
