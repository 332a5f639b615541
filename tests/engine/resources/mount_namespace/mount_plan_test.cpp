#include "engine/resources/mount_namespace/mount_plan.h"

#include <gtest/gtest.h>
#include <functional>

#include "engine/resources/mount_namespace/mount_table.h"
#include "tests/engine/resources/mount_namespace/sample_tables.h"

namespace ncr::mount_namespace {
namespace {

using Kind = MountSource::Kind;

class MountPlanTest : public ::testing::Test {
 protected:
  const schema::MountNamespace& record_of(const std::string& tree,
                                          const DumpRequest& request = {}) {
    std::vector<Refusal> refusals;
    record_ = describe_table(parse_mountinfo(tree).take(), own_, request, {}, &refusals).take();
    return record_;
  }
  void plan(const RestoreRequest& request = {}) {
    Result<MountPlan> planned = plan_mounts(record_, own_, request);
    ASSERT_TRUE(planned.ok()) << planned.error().text();
    plan_ = planned.take();
  }
  size_t index_of(const std::string& point) const {
    for (size_t i = 0; i < plan_.placements.size(); i++)
      if (plan_.placements[i].mount->point() == point) return i;
    ADD_FAILURE() << point;
    return 0;
  }
  const Placement& at(const std::string& point) const { return plan_.placements[index_of(point)]; }
  std::string failure(const RestoreRequest& request = {}) const {
    Result<MountPlan> planned = plan_mounts(record_, own_, request);
    return planned.ok() ? std::string() : planned.error().text();
  }

  std::vector<MountLine> own_ = parse_mountinfo(kMachine).take();
  schema::MountNamespace record_;
  MountPlan plan_;
};

TEST_F(MountPlanTest, a_container_is_put_together) {
  record_of(kContainer);
  plan();
  ASSERT_EQ(plan_.placements.size(), 13u);
  EXPECT_EQ(at("/").source.kind, Kind::kHost);
  EXPECT_EQ(at("/").source.path, "/");
  EXPECT_EQ(at("/").source.below, "bundle/rootfs");
  EXPECT_EQ(at("/sys").source.kind, Kind::kMade);
  EXPECT_EQ(at("/sys/fs/cgroup/cpu").source.kind, Kind::kHost);
  EXPECT_EQ(at("/sys/fs/cgroup/cpu").source.below, "box");
  // Shown by several mounts: proc, /dev, devpts.
  EXPECT_EQ(plan_.shared.size(), 3u);
  EXPECT_EQ(at("/dev").source.kind, Kind::kShared);
  EXPECT_EQ(at("/dev").source.below, "");
  EXPECT_EQ(at("/proc/keys").source.kind, Kind::kShared);
  EXPECT_EQ(at("/proc/keys").source.below, "null");
  EXPECT_EQ(at("/proc/keys").point, "keys");
  EXPECT_EQ(at("/proc/keys").parent, index_of("/proc"));
  EXPECT_EQ(at("/dev/console").source.kind, Kind::kTerminal);
}

TEST_F(MountPlanTest, a_given_root_takes_the_place_of_the_old_one) {
  RestoreRequest request;
  request.root = "/mnt/new";
  record_of(std::string(kContainer) +
            "91 67 254:0 /bundle/rootfs/usr /lib rw - ext4 /dev/vda rw\n");
  plan(request);
  EXPECT_EQ(at("/").source.kind, Kind::kPath);
  EXPECT_EQ(at("/").source.path, "/mnt/new");
  EXPECT_EQ(at("/lib").source.kind, Kind::kMount);
  EXPECT_EQ(at("/lib").source.below, "usr");
}

TEST_F(MountPlanTest, an_external_mount_takes_what_is_given_under_its_key) {
  DumpRequest dumped;
  dumped.externals = {{"mnt", "/dev/shm", "shm"}};
  record_of(kContainer, dumped);
  EXPECT_NE(failure().find("--external mnt[shm]:PATH"), std::string::npos);
  RestoreRequest request;
  request.externals = {{"net", "shm", "wrong"}, {"mnt", "shm", "/srv/shm"}};
  plan(request);
  EXPECT_EQ(at("/dev/shm").source.kind, Kind::kPath);
  EXPECT_EQ(at("/dev/shm").source.path, "/srv/shm");
}

TEST_F(MountPlanTest, a_part_of_an_external_mount_is_taken_from_what_is_given_for_that) {
  const std::string tree = std::string(kContainer) +
                           "90 67 254:0 /srv /data rw - ext4 /dev/vda rw\n"
                           "91 67 254:0 /srv/logs /logs rw - ext4 /dev/vda rw\n";
  DumpRequest dumped;
  dumped.root = "/bundle/rootfs";
  dumped.externals = {{"mnt", "/data", "volume"}};
  record_of(tree, dumped);
  RestoreRequest request;
  request.root = "/mnt/new";
  request.externals = {{"mnt", "volume", "/srv/new"}};
  plan(request);
  EXPECT_EQ(at("/logs").source.kind, Kind::kPath);
  EXPECT_EQ(at("/logs").source.path, "/srv/new/logs");
}

TEST_F(MountPlanTest, long_ways_come_first_and_covers_last) {
  record_of(
      "7 1 254:0 / / rw - ext4 /dev/vda rw\n"
      "8 7 0:51 / /a rw - tmpfs x rw\n"
      "9 8 0:52 / /a rw - tmpfs cover rw\n"
      "10 8 0:53 / /a/b/c rw - tmpfs x rw\n"
      "11 8 0:54 / /a/b rw - tmpfs x rw\n");
  plan();
  std::vector<uint32_t> order;
  for (const Placement& placement : plan_.placements) order.push_back(placement.mount->id());
  EXPECT_EQ(order, (std::vector<uint32_t>{7, 8, 10, 11, 9}));
  EXPECT_EQ(plan_.placements[4].point, "");
}

TEST_F(MountPlanTest, after_a_boot_a_file_system_without_a_disk_is_known_by_its_place) {
  record_of("7 1 0:24 / / rw - devpts devpts rw\n");
  own_ = parse_mountinfo(
             "1 0 0:24 / /x rw - devpts other rw\n"
             "2 0 0:77 / /dev/pts rw - devpts devpts rw\n")
             .take();
  plan();
  EXPECT_EQ(plan_.placements[0].source.path, "/dev/pts");
}

TEST_F(MountPlanTest, a_disk_that_is_not_mounted_is_named) {
  record_of("7 1 254:0 / / rw - ext4 /dev/vda rw\n");
  own_.clear();
  EXPECT_NE(failure().find("mount it at / before the restore"), std::string::npos);
}

TEST_F(MountPlanTest, groups_are_set_up_masters_first) {
  record_of(
      "7 1 254:0 / / rw - ext4 /dev/vda rw\n"
      "8 7 0:51 / /a rw shared:9 - tmpfs x rw\n"
      "9 7 0:51 /in /b rw shared:9 - tmpfs x rw\n"
      "10 7 0:51 / /c rw shared:5 master:9 - tmpfs x rw\n"
      "11 7 0:51 / /d rw master:5 - tmpfs x rw\n"
      "12 7 0:51 / /e rw unbindable - tmpfs x rw\n");
  plan();
  std::vector<std::string> done;
  for (const Spread& spread : plan_.spreads)
    done.push_back(strf("%d%s", static_cast<int>(spread.kind),
                        plan_.placements[spread.placement].mount->point().c_str()));
  EXPECT_EQ(done,
            (std::vector<std::string>{"4/e", "0/a", "1/b", "1/c", "3/c", "0/c", "1/d", "3/d"}));
}

TEST_F(MountPlanTest, a_procfs_of_processes_below_waits_for_them_with_all_that_is_mounted_on_it) {
  record_of(
      "7 1 254:0 / / rw - ext4 /dev/vda rw\n"
      "8 7 0:50 / /proc rw - proc proc rw\n"
      "9 8 0:50 /sys /proc/sys rw - proc proc rw\n"
      "10 8 0:51 / /proc/bus rw - tmpfs x rw\n"
      "11 7 0:52 / /tmp rw - tmpfs x rw\n");
  record_.mutable_file_systems(1)->set_pid_namespace(5);
  plan();
  for (const char* point : {"/proc", "/proc/sys", "/proc/bus"}) EXPECT_EQ(at(point).late, 5u);
  EXPECT_EQ(at("/").late, 0u);
  EXPECT_EQ(at("/tmp").late, 0u);
  record_.mutable_file_systems(0)->set_pid_namespace(5);
  EXPECT_NE(failure(), "") << "a root cannot wait";
}

TEST_F(MountPlanTest, a_damaged_table_is_refused) {
  const std::string tree =
      "7 1 254:0 / / rw - ext4 /dev/vda rw\n"
      "8 7 0:51 / /a rw shared:2 master:1 - tmpfs x rw\n"
      "9 7 0:51 / /b rw shared:1 - tmpfs x rw\n";
  auto damaged = [&](const std::function<void(schema::MountNamespace&)>& damage) {
    record_of(tree);
    damage(record_);
    return failure();
  };
  EXPECT_EQ(damaged([](auto&) {}), "");
  EXPECT_NE(damaged([](auto& r) { r.clear_mounts(); }), "");
  EXPECT_NE(damaged([](auto& r) { r.mutable_mounts(1)->set_parent(99); }), "");
  EXPECT_NE(damaged([](auto& r) { r.mutable_mounts(1)->set_parent(8); }), "");
  EXPECT_NE(damaged([](auto& r) { r.mutable_mounts(1)->set_parent(0); }), "");
  EXPECT_NE(damaged([](auto& r) { r.mutable_mounts(0)->set_parent(8); }), "");
  EXPECT_NE(damaged([](auto& r) { r.mutable_mounts(1)->set_id(7); }), "");
  EXPECT_NE(damaged([](auto& r) { r.mutable_mounts(1)->set_file_system(77); }), "");
  EXPECT_NE(damaged([](auto& r) { r.mutable_file_systems(1)->set_id(1); }), "");
  EXPECT_NE(damaged([](auto& r) { r.mutable_mounts(1)->set_point("/../x"); }), "");
  EXPECT_NE(damaged([](auto& r) { r.mutable_mounts(1)->set_root("/../x"); }), "");
  EXPECT_NE(damaged([](auto& r) { r.mutable_mounts(1)->set_root("net:[1]"); }), "");
  EXPECT_NE(damaged([](auto& r) { r.mutable_mounts(2)->set_master(2); }), "");
}

TEST_F(MountPlanTest, a_thousand_mounts_are_planned) {
  std::string tree = "7 1 254:0 / / rw - ext4 /dev/vda rw\n";
  for (int i = 0; i < 1000; i++)
    tree += strf("%d 7 0:%d / /m/%d rw shared:%d - tmpfs x rw\n", 100 + i, 100 + i, i, i + 1);
  record_of(tree);
  plan();
  EXPECT_EQ(plan_.placements.size(), 1001u);
  EXPECT_EQ(plan_.spreads.size(), 1000u);
}

}  // namespace
}  // namespace ncr::mount_namespace
