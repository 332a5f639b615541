// Needs CAP_SYS_ADMIN: a child in a mount namespace of its own is looked into.
#include "engine/tree/mount_view.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <functional>

#include "tests/support/child_process.h"
#include "tests/support/scratch.h"

namespace ncr {
namespace {

// A child that has set itself up and waits until the test has looked.
class Other {
 public:
  explicit Other(const std::function<bool()>& set_up) {
    int ready[2];
    EXPECT_EQ(::pipe2(ready, O_CLOEXEC), 0);
    pid_ = test::fork_child([&] {
      bool well = set_up();
      EXPECT_EQ(::write(ready[1], well ? "y" : "n", 1), 1);
      ::pause();
    });
    ::close(ready[1]);
    char answer = 0;
    EXPECT_EQ(::read(ready[0], &answer, 1), 1);
    well_ = answer == 'y';
    ::close(ready[0]);
    task_.pid = pid_;
    task_.proc = sys::open(strf("/proc/%d", pid_).c_str(), O_PATH | O_DIRECTORY).take();
  }
  ~Other() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  const Task& task() const { return task_; }
  bool well() const { return well_; }

 private:
  pid_t pid_ = 0;
  bool well_ = false;
  Task task_;
};

bool private_mounts() {
  return ::unshare(CLONE_NEWNS) == 0 && ::mount("", "/", "", MS_REC | MS_PRIVATE, nullptr) == 0;
}

bool is_file(const MountView& view, const std::string& path) {
  Result<struct stat> found = view.lstat(path);
  return found.ok() && S_ISREG(found.value().st_mode);
}

TEST(mount_view, a_task_in_the_engines_namespace_sees_what_the_engine_sees) {
  Task self;
  self.pid = ::getpid();
  self.proc = sys::open("/proc/self", O_PATH | O_DIRECTORY).take();
  MountViews views;
  Result<const MountView*> view = views.of(self);
  ASSERT_TRUE(view.ok()) << view.error().text();
  EXPECT_TRUE(view.value()->own());
  EXPECT_TRUE(view.value()->lstat("/proc").ok());
}

TEST(mount_view, a_path_is_looked_up_in_the_namespace_of_the_task) {
  test::Scratch scratch;
  Other other([&] {
    return private_mounts() && ::mount("none", scratch.path().c_str(), "tmpfs", 0, nullptr) == 0 &&
           ::mknod(scratch.file("inside").c_str(), S_IFREG | 0600, 0) == 0 &&
           ::symlink("/../..", scratch.file("up").c_str()) == 0;
  });
  ASSERT_TRUE(other.well());
  MountViews views;
  Result<const MountView*> view = views.of(other.task());
  ASSERT_TRUE(view.ok()) << view.error().text();
  EXPECT_FALSE(view.value()->own());
  EXPECT_TRUE(is_file(*view.value(), scratch.file("inside")));
  EXPECT_TRUE(is_file(*view.value(), scratch.file("up") + scratch.file("inside")));
  EXPECT_FALSE(test::file_exists(scratch.file("inside")));
  Result<std::string> table = view.value()->mountinfo();
  ASSERT_TRUE(table.ok());
  EXPECT_NE(table.value().find(scratch.path()), std::string::npos);
}

TEST(mount_view, a_task_that_changed_its_root_shows_the_whole_namespace) {
  test::Scratch scratch;
  Other other([&] {
    return private_mounts() && ::mount("none", scratch.path().c_str(), "tmpfs", 0, nullptr) == 0 &&
           ::mknod(scratch.file("inside").c_str(), S_IFREG | 0600, 0) == 0 &&
           ::chroot(scratch.path().c_str()) == 0;
  });
  ASSERT_TRUE(other.well());
  Result<MountView> view = MountView::of(other.task());
  ASSERT_TRUE(view.ok()) << view.error().text();
  EXPECT_TRUE(is_file(view.value(), scratch.file("inside")));
  EXPECT_TRUE(view.value().lstat("/etc").ok());
  Result<std::string> table = view.value().mountinfo();
  ASSERT_TRUE(table.ok());
  EXPECT_NE(table.value().find(scratch.path()), std::string::npos);
}

TEST(mount_view, a_file_is_looked_up_where_its_mount_is) {
  test::Scratch scratch;
  Other other([&] {
    return private_mounts() && ::mount("none", scratch.path().c_str(), "tmpfs", 0, nullptr) == 0 &&
           ::mknod(scratch.file("inside").c_str(), S_IFREG | 0600, 0) == 0;
  });
  ASSERT_TRUE(other.well());
  auto mount_of = [](const Fd& file) {
    struct statx status {};
    EXPECT_EQ(::statx(file.get(), "", AT_EMPTY_PATH, STATX_MNT_ID, &status), 0);
    return static_cast<int>(status.stx_mnt_id);
  };
  MountViews views;
  const MountView* theirs = views.of(other.task()).take();
  Fd inside = theirs->open(scratch.file("inside"), O_PATH).take();
  Fd outside = sys::open("/etc", O_PATH).take();
  EXPECT_EQ(views.with_mount(mount_of(inside), theirs), theirs);
  EXPECT_EQ(views.with_mount(mount_of(inside), &views.own()), theirs);
  EXPECT_EQ(views.with_mount(mount_of(outside), theirs), &views.own());
  EXPECT_EQ(views.with_mount(0, theirs), theirs);
  EXPECT_EQ(views.with_mount(1 << 30, theirs), theirs);
}

}  // namespace
}  // namespace ncr
