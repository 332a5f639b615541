#include "engine/resources/mount_namespace/split_systems.h"

#include <gtest/gtest.h>

namespace ncr::mount_namespace {
namespace {

constexpr const char* kRoot = "7 1 254:0 / / rw - ext4 /dev/vda rw\n";

schema::Namespace space(const std::string& mounts) {
  std::vector<Refusal> refusals;
  schema::Namespace record;
  *record.mutable_mnt() = describe_table(parse_mountinfo(kRoot + mounts).take(),
                                         parse_mountinfo(kRoot).take(), {}, {}, &refusals)
                              .take();
  return record;
}

std::string split(const std::string& first, const std::string& second, bool brings_root = false) {
  const schema::Namespace a = space(first);
  const schema::Namespace b = space(second);
  std::string objects;
  for (const Split& one : find_split_systems({&a, &b}, brings_root))
    objects += strf("%zu %s;", one.space, one.refusal.object.c_str());
  return objects;
}

TEST(split_systems, what_the_first_namespace_shows_the_second_may_show_too) {
  EXPECT_EQ(split("8 7 0:50 / /a rw - tmpfs x rw\n", "8 7 0:50 /in /b rw - tmpfs x rw\n"), "");
  EXPECT_EQ(split("8 7 0:50 / /a rw - tmpfs x rw\n", "8 7 0:51 / /b rw - tmpfs x rw\n"), "");
}

TEST(split_systems, what_shows_more_in_the_second_namespace_is_named) {
  EXPECT_EQ(split("8 7 0:50 /in /a rw - tmpfs x rw\n", "8 7 0:50 / /b rw - tmpfs x rw\n"),
            "1 mount /b;");
  EXPECT_EQ(split("8 7 0:50 / /a rw - tmpfs x rw\n9 8 0:51 / /a rw - tmpfs x rw\n",
                  "8 7 0:50 / /a rw - tmpfs x rw\n"),
            "1 mount /a;")
      << "covered";
}

TEST(split_systems, a_second_one_of_the_kernels_views_and_of_the_machines_disks_is_as_good) {
  EXPECT_EQ(split("8 7 0:50 /sys /a rw - proc x rw\n9 7 254:0 /in /c rw - ext4 /dev/vda rw\n",
                  "8 7 0:50 / /b rw - proc x rw\n9 7 254:0 / /c rw - ext4 /dev/vda rw\n"),
            "");
}

}  // namespace
}  // namespace ncr::mount_namespace
