#include "engine/resources/mount_namespace/mountinfo.h"

#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>

namespace ncr::mount_namespace {
namespace {

std::vector<MountLine> parsed(const std::string& text) {
  Result<std::vector<MountLine>> lines = parse_mountinfo(text);
  EXPECT_TRUE(lines.ok()) << lines.error().text();
  return lines.ok() ? lines.take() : std::vector<MountLine>();
}

TEST(mountinfo, a_line_is_taken_apart) {
  std::vector<MountLine> lines = parsed(
      "36 35 98:3 /sub /mnt/a rw,nosuid,noexec,relatime shared:7 master:1 propagate_from:2 - ext4 "
      "/dev/sda1 rw,errors=continue\n");
  ASSERT_EQ(lines.size(), 1u);
  const MountLine& line = lines[0];
  EXPECT_EQ(line.id, 36u);
  EXPECT_EQ(line.parent, 35u);
  EXPECT_EQ(line.device, makedev(98, 3));
  EXPECT_EQ(line.root, "/sub");
  EXPECT_EQ(line.point, "/mnt/a");
  EXPECT_EQ(line.attributes, uint64_t{MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC});
  EXPECT_EQ(line.peers, 7u);
  EXPECT_EQ(line.master, 1u);
  EXPECT_FALSE(line.unbindable);
  EXPECT_EQ(line.type, "ext4");
  EXPECT_EQ(line.source, "/dev/sda1");
  EXPECT_EQ(line.options, "rw,errors=continue");
}

TEST(mountinfo, a_mount_without_relatime_or_noatime_updates_access_times_always) {
  std::vector<MountLine> lines = parsed(
      "1 0 0:1 / / ro,nosuid unbindable - tmpfs tmpfs rw\n"
      "2 1 0:1 / /a rw,noatime,nodiratime,idmapped - tmpfs none rw\n");
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0].attributes,
            uint64_t{MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_STRICTATIME});
  EXPECT_TRUE(lines[0].unbindable);
  EXPECT_EQ(lines[1].attributes, uint64_t{MOUNT_ATTR_NOATIME | MOUNT_ATTR_NODIRATIME});
  EXPECT_TRUE(lines[1].id_mapped);
}

TEST(mountinfo, escapes_are_undone) {
  EXPECT_EQ(undo_escapes("/a\\040b\\134c\\011"), "/a b\\c\t");
  EXPECT_EQ(undo_escapes("\\"), "\\");
  EXPECT_EQ(undo_escapes("\\04"), "\\04");
  EXPECT_EQ(undo_escapes("\\089"), "\\089");
}

TEST(mountinfo, an_empty_source_is_no_error) {
  std::vector<MountLine> lines = parsed("1 0 0:1 / / rw - tmpfs  rw\n");
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0].source, "");
  EXPECT_EQ(lines[0].options, "rw");
}

TEST(mountinfo, what_is_no_table_is_refused) {
  for (const char* text : {"x", "1 2", "1 2 0:1 / / rw", "1 2 0:1 / / rw -", "1 2 0:1 / / rw - ",
                           "a 2 0:1 / / rw - t s o", "1 2 01 / / rw - t s o",
                           "1 2 0:1 / relative rw - t s o", "0 2 0:1 / / rw - t s o",
                           "99999999999 2 0:1 / / rw - t s o", "1 2 0:1 / / rw shared:x - t s o"})
    EXPECT_FALSE(parse_mountinfo(text).ok()) << text;
  EXPECT_TRUE(parse_mountinfo("").ok());
}

TEST(mountinfo, below_is_a_matter_of_whole_names) {
  std::string rest;
  EXPECT_TRUE(is_below("/a/b/c", "/a", &rest));
  EXPECT_EQ(rest, "b/c");
  EXPECT_TRUE(is_below("/a", "/", &rest));
  EXPECT_EQ(rest, "a");
  EXPECT_TRUE(is_below("/a", "/a", &rest));
  EXPECT_EQ(rest, "");
  EXPECT_TRUE(is_below("/", "/", &rest));
  EXPECT_EQ(rest, "");
  EXPECT_FALSE(is_below("/ab", "/a", &rest));
  EXPECT_FALSE(is_below("/", "/a", &rest));
}

}  // namespace
}  // namespace ncr::mount_namespace
