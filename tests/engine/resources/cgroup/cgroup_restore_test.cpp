#include "engine/resources/cgroup/cgroup_restore.h"

#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "engine/request.h"
#include "tests/engine/resources/cgroup/test_cgroups.h"
#include "tests/support/child_process.h"

namespace ncr {
namespace {

using testing::TestCgroups;

schema::CgroupHierarchy hierarchy(const char* controllers, const char* root) {
  schema::CgroupHierarchy record;
  record.set_controllers(controllers);
  record.set_root_path(root);
  return record;
}

TEST(CgroupRoots, the_request_has_the_last_word) {
  const std::vector<CgroupRoot> roots = {{"cpuacct,cpu", "/x"}, {"", "/y"}};
  EXPECT_EQ(cgroup::root_path_for(hierarchy("cpu,cpuacct", "/a"), roots), "/x");
  EXPECT_EQ(cgroup::root_path_for(hierarchy("", "/a"), roots), "/y");
  EXPECT_EQ(cgroup::root_path_for(hierarchy("pids", "/a"), roots), "/y");
  EXPECT_EQ(cgroup::root_path_for(hierarchy("pids", "/a"), {{"cpu", "/x"}}), "/a");
  EXPECT_EQ(cgroup::root_path_for(hierarchy("pids", "/a"), {{"", "/all"}}), "/all");
}

// A tree of two in a cgroup and one below it, dumped and gone.
class CgroupRestoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (!cgroups_.usable() || !cpus_.usable() || !cpus_.put("cpu.shares", "512"))
      GTEST_SKIP() << "no cgroups can be made";
    ASSERT_TRUE(cgroups_.make("/below"));
    ASSERT_TRUE(cgroups_.make("/empty"));
    ASSERT_TRUE(cgroups_.put("below/pids.max", "33"));
    ASSERT_TRUE(cgroups_.put("empty/pids.max", "44"));
    ASSERT_EQ(::chown(cgroups_.path("/empty").c_str(), 1234, 4321), 0);
    ASSERT_EQ(::chown(cgroups_.path("/empty/cgroup.procs").c_str(), 1234, 4321), 0);
    root_ = spawn();
    request_.images_dir = scratch_.file("image");
  }
  void TearDown() override { test::kill_descendants(); }

  pid_t spawn() {
    int ends[2];
    EXPECT_EQ(::pipe(ends), 0);
    pid_t pid = ::fork();
    if (pid == 0) live(ends[1]);
    ::close(ends[1]);
    EXPECT_EQ(::read(ends[0], &child_, sizeof child_), static_cast<ssize_t>(sizeof child_));
    char none = 0;
    EXPECT_EQ(::read(ends[0], &none, 1), 0) << "they have closed everything";
    ::close(ends[0]);
    return pid;
  }
  [[noreturn]] void live(int ready) {
    ::setsid();
    const bool moved = cgroups_.put("cgroup.procs", "0") && cpus_.put("cgroup.procs", "0");
    pid_t child = ::fork();
    if (child != 0) {
      if (!moved || !cgroups_.put("below/cgroup.procs", std::to_string(child))) child = -1;
      (void)!::write(ready, &child, sizeof child);
    }
    int null = ::open("/dev/null", O_RDWR);
    int data = ::open(scratch_.file("data").c_str(), O_RDWR | O_CREAT, 0600);
    for (int number : {0, 1}) ::dup2(null, number);
    ::dup2(data, 2);
    ::close_range(3, ~0u, 0);
    for (;;) ::pause();
  }

  void dump_and_remove(CgroupMode mode = CgroupMode::kSoft) {
    DumpRequest request;
    request.pid = root_;
    request.images_dir = request_.images_dir;
    request.cgroups = mode;
    Result<DumpReport> report = dump(request);
    ASSERT_TRUE(report.ok()) << report.error().text();
    auto there = [&] { return ::kill(child_, 0) == 0 || ::kill(root_, 0) == 0; };
    for (int tries = 0; tries < 400 && there(); tries++) {
      test::collect_zombies();
      ::usleep(5000);
    }
    remove_all();
  }
  void remove_all() {
    cgroups_.remove();
    cpus_.remove();
  }
  std::string restore_error() {
    Result<RestoreReport> report = restore(request_);
    return report.ok() ? "" : report.error().text();
  }

  TestCgroups cgroups_{"pids"};
  TestCgroups cpus_{"cpu"};
  test::Scratch scratch_;
  pid_t root_ = 0;
  pid_t child_ = 0;
  RestoreRequest request_;
};

TEST_F(CgroupRestoreTest, what_is_missing_is_made_as_it_was) {
  dump_and_remove();
  ASSERT_FALSE(cgroups_.exists());
  ASSERT_EQ(restore_error(), "");
  EXPECT_TRUE(cgroups_.holds(root_));
  EXPECT_TRUE(cgroups_.holds(child_, "/below"));
  EXPECT_TRUE(cpus_.holds(child_));
  EXPECT_EQ(cgroups_.text("below/pids.max"), "33");
  EXPECT_EQ(cgroups_.text("empty/pids.max"), "44");
  EXPECT_EQ(cgroups_.text("pids.max"), "max");
  EXPECT_EQ(cpus_.text("cpu.shares"), "512");
  struct stat status {};
  for (const char* name : {"/empty", "/empty/cgroup.procs"}) {
    ASSERT_EQ(::stat(cgroups_.path(name).c_str(), &status), 0);
    EXPECT_EQ(status.st_uid, 1234u) << name;
    EXPECT_EQ(status.st_gid, 4321u) << name;
  }
}

TEST_F(CgroupRestoreTest, soft_leaves_the_values_of_what_exists_alone) {
  dump_and_remove();
  ASSERT_TRUE(cpus_.make(""));
  ASSERT_TRUE(cpus_.put("cpu.shares", "256"));
  ASSERT_EQ(restore_error(), "");
  EXPECT_EQ(cpus_.text("cpu.shares"), "256");
  EXPECT_EQ(cgroups_.text("below/pids.max"), "33");
}

TEST_F(CgroupRestoreTest, full_writes_them_always) {
  dump_and_remove();
  ASSERT_TRUE(cpus_.make(""));
  request_.cgroups = CgroupMode::kFull;
  ASSERT_EQ(restore_error(), "");
  EXPECT_EQ(cpus_.text("cpu.shares"), "512");
}

TEST_F(CgroupRestoreTest, strict_refuses_what_exists_and_removes_what_it_made) {
  dump_and_remove();
  ASSERT_TRUE(cpus_.make(""));
  request_.cgroups = CgroupMode::kStrict;
  EXPECT_NE(restore_error().find("strict"), std::string::npos);
  EXPECT_FALSE(cgroups_.exists());
  EXPECT_TRUE(cpus_.exists());
  cpus_.remove();
  EXPECT_EQ(restore_error(), "");
}

TEST_F(CgroupRestoreTest, props_makes_nothing_and_sets_everything) {
  dump_and_remove();
  request_.cgroups = CgroupMode::kProps;
  EXPECT_NE(restore_error().find("does not exist"), std::string::npos);
  for (const char* below : {"", "/below", "/empty"}) ASSERT_TRUE(cgroups_.make(below));
  ASSERT_TRUE(cpus_.make(""));
  ASSERT_EQ(restore_error(), "");
  EXPECT_EQ(cpus_.text("cpu.shares"), "512");
  EXPECT_EQ(cgroups_.text("below/pids.max"), "33");
}

TEST_F(CgroupRestoreTest, none_moves_only) {
  dump_and_remove(CgroupMode::kNone);
  request_.cgroups = CgroupMode::kNone;
  EXPECT_NE(restore_error().find("does not exist"), std::string::npos);
  for (const char* below : {"", "/below", "/empty"}) ASSERT_TRUE(cgroups_.make(below));
  ASSERT_TRUE(cpus_.make(""));
  ASSERT_EQ(restore_error(), "");
  EXPECT_EQ(cpus_.text("cpu.shares"), "1024");
  EXPECT_EQ(cgroups_.text("below/pids.max"), "max");
  EXPECT_TRUE(cgroups_.holds(child_, "/below"));
}

TEST_F(CgroupRestoreTest, ignore_leaves_the_tree_where_the_restorer_is) {
  dump_and_remove();
  request_.cgroups = CgroupMode::kIgnore;
  ASSERT_EQ(restore_error(), "");
  EXPECT_FALSE(cgroups_.exists());
}

TEST_F(CgroupRestoreTest, a_dump_that_ignores_cgroups_records_none) {
  dump_and_remove(CgroupMode::kIgnore);
  EXPECT_FALSE(test::file_exists(request_.images_dir + "/cgroups.img"));
  ASSERT_EQ(restore_error(), "");
  EXPECT_FALSE(cgroups_.exists());
}

TEST_F(CgroupRestoreTest, the_tree_moves_to_the_root_of_the_request) {
  dump_and_remove();
  TestCgroups other("pids", "other");
  ASSERT_TRUE(other.usable());
  request_.cgroup_roots = {{"pids", other.name()}};
  ASSERT_EQ(restore_error(), "");
  EXPECT_TRUE(other.holds(root_));
  EXPECT_TRUE(other.holds(child_, "/below"));
  EXPECT_FALSE(cgroups_.exists());
  EXPECT_TRUE(cpus_.holds(root_));
  ::kill(child_, SIGKILL);
  ::kill(root_, SIGKILL);
}

TEST_F(CgroupRestoreTest, a_restore_that_fails_leaves_no_cgroup_behind) {
  dump_and_remove();
  ASSERT_EQ(::unlink(scratch_.file("data").c_str()), 0);
  EXPECT_NE(restore_error().find("data"), std::string::npos);
  EXPECT_FALSE(cgroups_.exists());
  EXPECT_FALSE(cpus_.exists());
}

TEST_F(CgroupRestoreTest, a_frozen_cgroup_is_not_entered) {
  TestCgroups freezer("freezer");
  if (!freezer.usable()) GTEST_SKIP() << "no freezer of v1";
  ASSERT_TRUE(freezer.put("cgroup.procs", std::to_string(root_)));
  dump_and_remove();
  ASSERT_TRUE(freezer.put("freezer.state", "FROZEN"));
  EXPECT_NE(restore_error().find("is frozen"), std::string::npos);
  ASSERT_TRUE(freezer.put("freezer.state", "THAWED"));
  EXPECT_EQ(restore_error(), "");
  EXPECT_TRUE(freezer.holds(root_));
  test::kill_descendants();
}

TEST(CgroupDump, a_tree_in_the_engines_cgroups_records_nothing) {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  test::Scratch scratch;
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  pid_t pid = test::fork_child([&] {
    ::setsid();
    int null = ::open("/dev/null", O_RDWR);
    for (int number : {0, 1, 2}) ::dup2(null, number);
    ::close_range(3, ~0u, 0);
    for (;;) ::pause();
  });
  ::close(ends[1]);
  char none = 0;
  ASSERT_EQ(::read(ends[0], &none, 1), 0) << "it has closed everything";
  ::close(ends[0]);
  DumpRequest request;
  request.pid = pid;
  request.images_dir = scratch.file("image");
  Result<DumpReport> report = dump(request);
  ASSERT_TRUE(report.ok()) << report.error().text();
  EXPECT_FALSE(test::file_exists(request.images_dir + "/cgroups.img"));
  test::kill_descendants();
}

TEST(CgroupLimits, a_cpuset_a_device_list_and_a_hidden_hierarchy) {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  TestCgroups sets("cpuset");
  TestCgroups devices("devices");
  if (!sets.usable() || !devices.usable()) GTEST_SKIP() << "no cgroups of v1 can be made";
  ASSERT_TRUE(sets.put("cpuset.cpus", "0") && sets.put("cpuset.mems", "0"));
  ASSERT_TRUE(devices.put("devices.deny", "a") && devices.put("devices.allow", "c 1:* rwm"));
  ASSERT_TRUE(devices.make("/below"));
  // The records, as a dump in this process would make them of another.
  Image image;
  image.tasks.emplace_back();
  for (const TestCgroups* one : {&sets, &devices}) {
    schema::CgroupHierarchy& record = image.cgroups.emplace_back();
    record.set_controllers(one == &sets ? "cpuset" : "devices");
    record.set_root_path(one->name());
    schema::Cgroup* cgroup = record.add_cgroups();
    cgroup->set_id(static_cast<uint32_t>(image.cgroups.size()));
    schema::CgroupProperty* property = cgroup->add_properties();
    property->set_name(one == &sets ? "cpuset.cpus" : "devices.list");
    property->set_value(one == &sets ? "0" : "c 1:* rwm");
  }
  schema::Cgroup* below = image.cgroups[1].add_cgroups();
  below->set_id(3);
  below->set_path("/below");
  sets.remove();
  devices.remove();
  {
    Result<cgroup::Cgroups> made = cgroup::Cgroups::create(image, {}, 300);
    ASSERT_TRUE(made.ok()) << made.error().text();
    EXPECT_EQ(sets.text("cpuset.cpus"), "0");
    EXPECT_NE(sets.text("cpuset.mems"), "") << "nobody could enter";
    EXPECT_EQ(devices.text("devices.list"), "c 1:* rwm");
    EXPECT_EQ(devices.text("below/devices.list"), "c 1:* rwm");
  }
  EXPECT_FALSE(sets.exists());
  EXPECT_FALSE(devices.exists());
}

}  // namespace
}  // namespace ncr
