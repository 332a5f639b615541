#include "engine/resources/cgroup/properties.h"

#include <gtest/gtest.h>

namespace ncr::cgroup {
namespace {

std::string joined_writes(Version version, const char* name, const char* value) {
  schema::CgroupProperty property;
  property.set_name(name);
  property.set_value(value);
  Result<std::vector<Write>> writes = writes_of(version, property);
  if (!writes.ok()) return "refused";
  std::string all;
  for (const Write& write : writes.value()) all += write.file + "=" + write.text + ";";
  return all;
}

TEST(CgroupProperties, what_a_new_cgroup_has_is_not_recorded) {
  EXPECT_EQ(recorded_value(Version::kV2, "cpu.max", "max 100000\n"), "");
  EXPECT_EQ(recorded_value(Version::kV2, "cpu.max", "50000 100000\n"), "50000 100000");
  EXPECT_EQ(recorded_value(Version::kV1, "cpu.shares", "1024\n"), "");
  EXPECT_EQ(recorded_value(Version::kV1, "cpu.shares", "512\n"), "512");
  EXPECT_EQ(recorded_value(Version::kV1, "cpuset.cpus", "\n"), "");
  EXPECT_EQ(recorded_value(Version::kV1, "cpuset.cpus", "0-1\n"), "0-1");
}

TEST(CgroupProperties, a_limit_beyond_all_memory_is_none) {
  EXPECT_EQ(recorded_value(Version::kV1, "memory.limit_in_bytes", "9223372036854771712\n"), "");
  EXPECT_EQ(recorded_value(Version::kV1, "memory.limit_in_bytes", "1048576\n"), "1048576");
  EXPECT_EQ(recorded_value(Version::kV1, "hugetlb.2MB.limit_in_bytes", "9223372036852678656\n"),
            "");
}

TEST(CgroupProperties, only_lines_that_limit_are_kept) {
  EXPECT_EQ(recorded_value(Version::kV2, "io.max",
                           "8:0 rbps=max wbps=max riops=max wiops=max\n"
                           "8:16 rbps=1000 wbps=max riops=max wiops=max\n"),
            "8:16 rbps=1000 wbps=max riops=max wiops=max");
  EXPECT_EQ(recorded_value(Version::kV2, "io.weight", "default 100\n8:0 50\n"), "8:0 50");
  EXPECT_EQ(recorded_value(Version::kV1, "net_prio.ifpriomap", "lo 0\neth0 5\n"), "eth0 5");
  EXPECT_EQ(recorded_value(Version::kV1, "memory.oom_control",
                           "oom_kill_disable 1\nunder_oom 0\noom_kill 0\n"),
            "oom_kill_disable 1");
}

TEST(CgroupProperties, counters_and_the_freezer_are_not_recorded) {
  EXPECT_EQ(recorded_value(Version::kV1, "memory.failcnt", "7\n"), "");
  EXPECT_EQ(recorded_value(Version::kV1, "freezer.state", "FROZEN\n"), "");
  EXPECT_EQ(recorded_value(Version::kV2, "cgroup.freeze", "1\n"), "");
  EXPECT_EQ(recorded_value(Version::kV1, "cpu.max", "1 2\n"), "") << "of the other version";
}

TEST(CgroupProperties, forms_that_are_read_otherwise_than_written) {
  EXPECT_EQ(joined_writes(Version::kV1, "devices.list", "c 1:3 rwm\nb *:* m"),
            "devices.deny=a;devices.allow=c 1:3 rwm;devices.allow=b *:* m;");
  EXPECT_EQ(joined_writes(Version::kV2, "cgroup.subtree_control", "cpu pids"),
            "cgroup.subtree_control=+cpu;cgroup.subtree_control=+pids;");
  EXPECT_EQ(joined_writes(Version::kV1, "memory.oom_control", "oom_kill_disable 1"),
            "memory.oom_control=1;");
  EXPECT_EQ(joined_writes(Version::kV2, "hugetlb.2MB.max", "4194304"), "hugetlb.2MB.max=4194304;");
}

TEST(CgroupProperties, an_image_sets_no_other_file) {
  for (const char* name : {"cgroup.procs", "cgroup.kill", "../x", "memory.force_empty",
                           "hugetlb./../.max", "release_agent", ""})
    EXPECT_EQ(joined_writes(Version::kV2, name, "1"), "refused") << name;
}

TEST(CgroupProperties, what_counts_processes_is_limited_late) {
  EXPECT_EQ(when_of(Version::kV2, "pids.max"), When::kLate);
  EXPECT_EQ(when_of(Version::kV1, "devices.list"), When::kAtBirth);
  EXPECT_EQ(when_of(Version::kV2, "memory.max"), When::kAtOnce);
}

}  // namespace
}  // namespace ncr::cgroup
