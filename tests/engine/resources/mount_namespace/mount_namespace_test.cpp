// Needs CAP_SYS_ADMIN: a child sets up a mount namespace, a thread of the test enters and dumps it,
// another child builds it anew, and the two tables are compared.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <mqueue.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <functional>
#include <map>
#include <thread>

#include "engine/memory/shared_memory_table.h"
#include "engine/resources/mount_namespace/mountinfo.h"
#include "engine/resources/room.h"
#include "engine/resources/shared_memory/shared_memory.h"
#include "tests/engine/resources/beside.h"
#include "tests/engine/resources/mount_namespace/mount_dweller.h"
#include "tests/support/child_process.h"
#include "tests/support/scratch.h"

namespace ncr::mount_namespace {

namespace {

TEST(mount_namespace, a_private_table_comes_back) {
  test::Scratch scratch;
  const std::string dir = scratch.path();
  Rebuilt rebuilt([&] {
    return unshare_mounts() && mount_at(dir, "tmpfs", "size=1m,mode=0711", MS_NOSUID) &&
           make_directory(dir + "/a") && make_directory(dir + "/a/b") &&
           make_directory(dir + "/c") && mount_at(dir + "/a", "tmpfs", "size=64k") &&
           make_directory(dir + "/a/b") && mount_at(dir + "/a/b", "proc", nullptr, MS_NOEXEC) &&
           bind_at("/etc", dir + "/c") && make_file(dir + "/f") && bind_at("/dev/null", dir + "/f");
  });
}

// As `ip netns` leaves /run/netns.
TEST(mount_namespace, a_directory_that_is_mounted_upon_itself_comes_back) {
  test::Scratch scratch;
  const std::string dir = scratch.path();
  Rebuilt rebuilt([&] { return unshare_mounts() && bind_at(dir, dir); },
                  [&] { return unshare_mounts() && bind_at(dir, dir); });
}

TEST(mount_namespace, what_a_mount_covers_comes_back_as_well) {
  test::Scratch scratch;
  const std::string dir = scratch.path();
  Rebuilt rebuilt([&] {
    return unshare_mounts() && mount_at(dir, "tmpfs") && make_directory(dir + "/below") &&
           mount_at(dir + "/below", "tmpfs", "size=1m") && mount_at(dir, "tmpfs", "size=2m") &&
           make_file(dir + "/top");
  });
  EXPECT_TRUE(test::file_exists(rebuilt.after.path(dir + "/top")));
}

TEST(mount_namespace, who_spreads_to_whom_comes_back) {
  test::Scratch scratch;
  const std::string dir = scratch.path();
  Rebuilt rebuilt([&] {
    bool made = unshare_mounts() && mount_at(dir, "tmpfs");
    for (const char* name : {"/s", "/peer", "/slave", "/both", "/both2", "/unbindable", "/alone"})
      made = made && make_directory(dir + name);
    auto is = [&](const char* name, unsigned long flag) {
      return ::mount("", (dir + name).c_str(), "", flag, nullptr) == 0;
    };
    return made && mount_at(dir + "/s", "tmpfs") && make_directory(dir + "/s/in") &&
           is("/s", MS_SHARED) && bind_at(dir + "/s/in", dir + "/peer") &&
           bind_at(dir + "/s", dir + "/slave") && is("/slave", MS_SLAVE) &&
           bind_at(dir + "/s", dir + "/both") && is("/both", MS_SLAVE) && is("/both", MS_SHARED) &&
           bind_at(dir + "/both", dir + "/both2") && mount_at(dir + "/unbindable", "tmpfs") &&
           is("/unbindable", MS_UNBINDABLE) && bind_at(dir + "/s", dir + "/alone") &&
           is("/alone", MS_PRIVATE);
  });
  // And what is mounted now spreads.
  ASSERT_EQ(::mkdir(rebuilt.after.path(dir + "/s/in/x").c_str(), 0755), 0);
  EXPECT_TRUE(test::file_exists(rebuilt.after.path(dir + "/peer/x")));
  EXPECT_TRUE(test::file_exists(rebuilt.after.path(dir + "/both2/in/x")));
}

TEST(mount_namespace, files_in_memory_come_back) {
  test::Scratch scratch;
  const std::string dir = scratch.path();
  Dweller before([&] {
    bool made = unshare_mounts() && mount_at(dir, "tmpfs", "mode=1777") &&
                make_directory(dir + "/d") && make_file(dir + "/d/text", "hello") &&
                ::chmod((dir + "/d/text").c_str(), 04751) == 0 &&
                ::chown((dir + "/d").c_str(), 7, 8) == 0 &&
                ::link((dir + "/d/text").c_str(), (dir + "/second").c_str()) == 0 &&
                ::symlink("d/text", (dir + "/link").c_str()) == 0 &&
                ::lchown((dir + "/link").c_str(), 3, 4) == 0 &&
                ::mknod((dir + "/null").c_str(), S_IFCHR | 0666, makedev(1, 3)) == 0 &&
                ::mknod((dir + "/whiteout").c_str(), S_IFCHR, makedev(0, 0)) == 0 &&
                ::mkfifo((dir + "/fifo").c_str(), 0640) == 0 &&
                ::mknod((dir + "/socket").c_str(), S_IFSOCK | 0600, 0) == 0 &&
                make_file(dir + "/sparse") && ::truncate((dir + "/sparse").c_str(), 10000) == 0 &&
                ::setxattr((dir + "/d").c_str(), "trusted.mark", "value", 5, 0) == 0;
    timespec times[2] = {{100, 5}, {200, 6}};
    return made && ::utimensat(AT_FDCWD, (dir + "/d/text").c_str(), times, 0) == 0 &&
           ::utimensat(AT_FDCWD, (dir + "/d").c_str(), times, 0) == 0;
  });
  ASSERT_TRUE(before.well());
  Dumped dumped = dump(before);
  EXPECT_TRUE(dumped.blockers.empty());
  Dweller after([&] { return rebuild(dumped.record); });
  ASSERT_TRUE(after.well());
  for (const char* name : {"", "/d", "/d/text", "/second", "/link", "/null", "/whiteout", "/fifo",
                           "/socket", "/sparse"}) {
    struct stat was {};
    struct stat is {};
    ASSERT_EQ(::lstat(before.path(dir + name).c_str(), &was), 0) << name;
    ASSERT_EQ(::lstat(after.path(dir + name).c_str(), &is), 0) << name;
    EXPECT_EQ(was.st_mode, is.st_mode) << name;
    EXPECT_EQ(was.st_uid, is.st_uid) << name;
    EXPECT_EQ(was.st_gid, is.st_gid) << name;
    EXPECT_EQ(was.st_rdev, is.st_rdev) << name;
    EXPECT_EQ(was.st_nlink, is.st_nlink) << name;
    if (!S_ISDIR(was.st_mode)) {
      EXPECT_EQ(was.st_size, is.st_size) << name;
    }
    EXPECT_EQ(was.st_mtim.tv_sec, is.st_mtim.tv_sec) << name;
    EXPECT_EQ(was.st_mtim.tv_nsec, is.st_mtim.tv_nsec) << name;
  }
  EXPECT_EQ(test::file_text(after.path(dir + "/second")), "hello");
  char value[16] = {};
  EXPECT_EQ(::getxattr(after.path(dir + "/d").c_str(), "trusted.mark", value, sizeof value), 5);
  char target[16] = {};
  EXPECT_EQ(::readlink(after.path(dir + "/link").c_str(), target, sizeof target), 6);
}

TEST(mount_namespace, an_overlay_comes_back) {
  test::Scratch scratch;
  const std::string dir = scratch.path();
  Rebuilt rebuilt([&] {
    bool made = unshare_mounts() && mount_at(dir, "tmpfs");
    for (const char* name : {"/lower", "/rw", "/all"}) made = made && make_directory(dir + name);
    made = made && make_file(dir + "/lower/old", "old") && make_file(dir + "/lower/gone") &&
           mount_at(dir + "/rw", "tmpfs") && make_directory(dir + "/rw/upper") &&
           make_directory(dir + "/rw/work");
    std::string options =
        "lowerdir=" + dir + "/lower,upperdir=" + dir + "/rw/upper,workdir=" + dir + "/rw/work";
    return made && mount_at(dir + "/all", "overlay", options.c_str()) &&
           make_file(dir + "/all/new", "new") && ::unlink((dir + "/all/gone").c_str()) == 0;
  });
  EXPECT_EQ(test::file_text(rebuilt.after.path(dir + "/all/old")), "old");
  EXPECT_EQ(test::file_text(rebuilt.after.path(dir + "/all/new")), "new");
  EXPECT_FALSE(test::file_exists(rebuilt.after.path(dir + "/all/gone")));
}

TEST(mount_namespace, an_overlay_of_many_layers_comes_back) {
  test::Scratch scratch;
  const std::string dir = scratch.path();
  Rebuilt rebuilt([&] {
    bool made = unshare_mounts() && mount_at(dir, "tmpfs") && make_directory(dir + "/all");
    std::string options = "lowerdir=";
    for (int i = 0; i < 40; i++) {
      const std::string layer = strf("%s/a-layer-with-a-long-name-%d", dir.c_str(), i);
      made = made && make_directory(layer) && make_file(strf("%s/%d", layer.c_str(), i), "text");
      options += (i == 0 ? "" : ":") + layer;
    }
    return made && mount_at(dir + "/all", "overlay", options.c_str());
  });
  EXPECT_EQ(test::file_text(rebuilt.after.path(dir + "/all/39")), "text");
}

TEST(mount_namespace, single_files_of_a_file_system_come_back) {
  test::Scratch scratch;
  const std::string dir = scratch.path();
  Rebuilt rebuilt([&] {
    bool made = unshare_mounts() && mount_at(dir, "tmpfs") && make_file(dir + "/text") &&
                make_file(dir + "/null") && make_directory(dir + "/hidden") &&
                mount_at(dir + "/hidden", "tmpfs") && make_directory(dir + "/hidden/in") &&
                make_file(dir + "/hidden/in/file", "text") &&
                ::mknod((dir + "/hidden/null").c_str(), S_IFCHR | 0666, makedev(1, 3)) == 0;
    return made && bind_at(dir + "/hidden/in/file", dir + "/text") &&
           bind_at(dir + "/hidden/null", dir + "/null") && ::umount((dir + "/hidden").c_str()) == 0;
  });
  EXPECT_EQ(test::file_text(rebuilt.after.path(dir + "/text")), "text");
  struct stat node {};
  ASSERT_EQ(::stat(rebuilt.after.path(dir + "/null").c_str(), &node), 0);
  EXPECT_EQ(node.st_rdev, makedev(1, 3));
}

TEST(mount_namespace, what_was_removed_is_shown_again) {
  test::Scratch scratch;
  test::Scratch host;
  const std::string dir = scratch.path();
  Rebuilt rebuilt([&] {
    bool made = unshare_mounts() && mount_at(dir, "tmpfs");
    for (const char* name : {"/d", "/gone", "/h"}) made = made && make_directory(dir + name);
    return made && make_file(dir + "/f") && make_file(dir + "/gone_file", "text") &&
           make_directory(host.path() + "/gone") && bind_at(host.path() + "/gone", dir + "/h") &&
           bind_at(dir + "/gone", dir + "/d") && bind_at(dir + "/gone_file", dir + "/f") &&
           ::rmdir((dir + "/gone").c_str()) == 0 && ::unlink((dir + "/gone_file").c_str()) == 0 &&
           ::rmdir((host.path() + "/gone").c_str()) == 0;
  });
  EXPECT_EQ(test::file_text(rebuilt.after.path(dir + "/f")), "text");
  EXPECT_FALSE(test::file_exists(host.file("gone")));
}

TEST(mount_namespace, a_mount_from_outside_takes_what_is_given) {
  test::Scratch scratch;
  test::Scratch outside;
  const std::string dir = scratch.path();
  Dweller before([&] {
    return unshare_mounts() && mount_at(dir, "tmpfs") && make_directory(dir + "/data") &&
           make_file(dir + "/file") && mount_at(dir + "/data", "tmpfs") &&
           bind_at("/dev/null", dir + "/file");
  });
  ASSERT_TRUE(before.well());
  DumpRequest request;
  request.externals = {{"mnt", dir + "/data", "volume"}, {"mnt", dir + "/file", "/dev/null"}};
  Dumped dumped = dump(before, request);
  ASSERT_TRUE(make_file(outside.file("here"), "x"));
  RestoreRequest restore;
  restore.externals = {{"mnt", "volume", outside.path()}, {"mnt", "/dev/null", "/dev/zero"}};
  Dweller after([&] { return rebuild(dumped.record, restore); });
  ASSERT_TRUE(after.well());
  EXPECT_EQ(test::file_text(after.path(dir + "/data/here")), "x");
  struct stat given {};
  ASSERT_EQ(::stat(after.path(dir + "/file").c_str(), &given), 0);
  EXPECT_EQ(given.st_rdev, makedev(1, 5));
}

// A container as runc makes it: its root is a directory of the machine, everything else its own.
// In a user namespace no devices are made.
bool make_null(const std::string& at) {
  return ::mknod(at.c_str(), S_IFCHR | 0666, makedev(1, 3)) == 0 ||
         (errno == EPERM && make_file(at, "") && bind_at("/dev/null", at));
}

bool make_container(const std::string& root) {
  bool made = unshare_mounts() && bind_at(root, root);
  for (const char* name : {"/proc", "/dev", "/sys", "/tmp"})
    made = made && make_directory(root + name);
  made = made && mount_at(root + "/proc", "proc") &&
         mount_at(root + "/dev", "tmpfs", "mode=755,size=65536k", MS_NOSUID | MS_STRICTATIME);
  for (const char* name : {"/dev/pts", "/dev/shm", "/dev/mqueue"})
    made = made && make_directory(root + name);
  return made &&
         mount_at(root + "/dev/pts", "devpts", "newinstance,ptmxmode=0666,mode=0620,gid=5",
                  MS_NOSUID | MS_NOEXEC) &&
         mount_at(root + "/dev/shm", "tmpfs", "mode=1777,size=65536k", MS_NOSUID | MS_NODEV) &&
         mount_at(root + "/dev/mqueue", "mqueue") &&
         mount_at(root + "/sys", "sysfs", nullptr, MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY) &&
         make_null(root + "/dev/null") && bind_at(root + "/dev/null", root + "/proc/keys") &&
         bind_at(root + "/proc/sys", root + "/proc/sys") &&
         ::mount("", (root + "/proc/sys").c_str(), "", MS_BIND | MS_REMOUNT | MS_RDONLY, nullptr) ==
             0 &&
         mount_at(root + "/proc/bus", "tmpfs", nullptr, MS_RDONLY) && ::chdir(root.c_str()) == 0 &&
         ::syscall(SYS_pivot_root, ".", ".") == 0 && ::umount2(".", MNT_DETACH) == 0 &&
         ::chdir("/") == 0;
}

TEST(mount_namespace, a_container_comes_back_under_a_root_that_is_given) {
  test::Scratch scratch;
  test::Scratch copy;
  Dweller before([&] { return make_container(scratch.path()); });
  ASSERT_TRUE(before.well());
  DumpRequest request;
  request.root = scratch.path();
  Dumped dumped = dump(before, request);
  EXPECT_TRUE(dumped.blockers.empty());
  for (const char* name : {"/proc", "/dev", "/sys", "/tmp"})
    ASSERT_TRUE(make_directory(copy.path() + name));
  RestoreRequest restore;
  restore.root = copy.path();
  Dweller after([&] { return rebuild(dumped.record, restore); });
  ASSERT_TRUE(after.well());
  std::string table = after.table();
  size_t at = table.find(copy.path());
  ASSERT_NE(at, std::string::npos);
  expect_same(before.table(), table.replace(at, copy.path().size(), scratch.path()));
  EXPECT_TRUE(test::file_exists(after.path("/dev/null")));
}

TEST(mount_namespace, a_container_comes_back_from_the_machines_own_mounts) {
  test::Scratch scratch;
  Rebuilt rebuilt([&] { return make_container(scratch.path()); });
}

bool write_text(const char* path, const std::string& text) {
  Result<Fd> file = sys::open(path, O_WRONLY);
  return file.ok() && sys::write_all(file.value(), text.data(), text.size()).ok();
}

// Goes on in a child that is the first process of its own namespaces.
bool enter_user_namespace() {
  if (::unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC) != 0 ||
      !write_text("/proc/self/setgroups", "deny") || !write_text("/proc/self/uid_map", "0 0 1") ||
      !write_text("/proc/self/gid_map", "0 0 1"))
    return false;
  pid_t pid = ::fork();
  if (pid < 0) return false;
  if (pid == 0) return ::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0;
  for (int fd = 3; fd < 100; fd++) ::close(fd);
  ::pause();
  return false;
}

TEST(mount_namespace, locked_mounts_of_a_user_namespace_stay_where_they_are) {
  test::Scratch scratch;
  const std::string dir = scratch.path();
  Dweller before([&] {
    return enter_user_namespace() && unshare_mounts() && mount_at(dir, "tmpfs", "size=1m") &&
           make_directory(dir + "/a") && bind_at("/etc", dir + "/a") && mount_at("/proc", "proc");
  });
  ASSERT_TRUE(before.well());
  std::vector<pid_t> inside = test::children_of(before.task().pid);
  ASSERT_EQ(inside.size(), 1u);
  Task task = task_of(inside[0]);
  Dumped dumped = dump(task);
  EXPECT_TRUE(dumped.blockers.empty());
  Dweller after([&] { return enter_user_namespace() && rebuild(dumped.record); });
  ASSERT_TRUE(after.well());
  expect_same(before.table(), after.table());
}

TEST(mount_namespace, a_container_comes_back_inside_a_user_namespace) {
  test::Scratch scratch;
  const std::string root = scratch.path();
  Dweller before([&] {
    bool made = enter_user_namespace() && unshare_mounts() && bind_at(root, root);
    for (const char* name : {"/proc", "/dev", "/sys", "/etc"})
      made = made && make_directory(root + name);
    made = made && mount_at(root + "/proc", "proc") && mount_at(root + "/sys", "sysfs") &&
           mount_at(root + "/dev", "tmpfs", "mode=755", MS_NOSUID) &&
           make_file(root + "/dev/null") && bind_at("/dev/null", root + "/dev/null") &&
           make_directory(root + "/dev/pts") &&
           mount_at(root + "/dev/pts", "devpts", "newinstance,ptmxmode=0666") &&
           make_directory(root + "/dev/mqueue") && mount_at(root + "/dev/mqueue", "mqueue");
    return made && ::chdir(root.c_str()) == 0 && ::syscall(SYS_pivot_root, ".", ".") == 0 &&
           ::umount2(".", MNT_DETACH) == 0 && ::chdir("/") == 0;
  });
  ASSERT_TRUE(before.well());
  // The table is that of the child's child.
  std::vector<pid_t> inside = test::children_of(before.task().pid);
  ASSERT_EQ(inside.size(), 1u);
  Task task = task_of(inside[0]);
  DumpRequest request;
  request.root = root;
  request.externals = {{"mnt", "/dev/null", "null"}};
  Dumped dumped = dump(task, request);
  EXPECT_TRUE(dumped.blockers.empty());
  RestoreRequest restore;
  restore.root = root;
  restore.externals = {{"mnt", "null", "/dev/null"}};
  Dweller after([&] {
    // A mount point, as a runtime gives it.
    return unshare_mounts() && bind_at(root, root) && enter_user_namespace() &&
           rebuild(dumped.record, restore);
  });
  ASSERT_TRUE(after.well());
  expect_same(before.table(), after.table());
}

TEST(mount_namespace, a_thousand_mounts_come_back) {
  test::Scratch scratch;
  const std::string dir = scratch.path();
  Rebuilt rebuilt([&] {
    bool made = unshare_mounts() && mount_at(dir, "tmpfs");
    for (int i = 0; i < 1000; i++) {
      std::string point = strf("%s/%d", dir.c_str(), i);
      made = made && make_directory(point) && bind_at(dir, point);
    }
    return made;
  });
}

TEST(mount_namespace, the_callers_mounts_are_untouched) {
  test::Scratch scratch;
  const std::string table = sys::read_file("/proc/self/mountinfo").take();
  {
    Dweller before([&] {
      return unshare_mounts() && mount_at(scratch.path(), "tmpfs") &&
             ::mount("", scratch.path().c_str(), "", MS_SHARED, nullptr) == 0;
    });
    ASSERT_TRUE(before.well());
    Dumped dumped = dump(before);
    Dweller after([&] { return rebuild(dumped.record); });
    ASSERT_TRUE(after.well());
  }
  EXPECT_EQ(sys::read_file("/proc/self/mountinfo").take(), table);
}

// ---- Whole checkpoints

CR_TEST(mount_namespace, a_process_comes_back_among_its_own_mounts) {
  test::Scratch scratch;
  const std::string dir = scratch.path();
  std::string before;
  Fd file;
  const std::string large(100'000, 'x');
  test::checkpoint_beside(
      [&] {
        must(unshare_mounts() && mount_at(dir, "tmpfs", "size=4m") && make_file(dir + "/f", "text"),
             "set up");
        must(make_file(dir + "/large", large) && ::chdir(dir.c_str()) == 0, "set up files");
        file = MUST(sys::open("f", O_RDWR));
        must(::lseek(file.get(), 2, SEEK_SET) == 2, "lseek");
        before = own_table();
      },
      [&] {
        must_be_same(before);
        char rest[3] = {};
        must(::read(file.get(), rest, 2) == 2 && std::string(rest) == "xt", "position");
        must(test::file_text("f") == "text" && test::file_text(dir + "/large") == large, "files");
      });
  EXPECT_FALSE(test::file_exists(dir + "/f"));
}

CR_TEST(mount_namespace, a_process_in_another_root_comes_back) {
  test::Scratch scratch;
  std::string before;
  Fd zero;
  Fd outside;
  test::checkpoint_beside(
      [&] {
        outside = MUST(sys::open("/etc/passwd", O_RDONLY));
        must(make_container(scratch.path()), "container");
        zero = MUST(sys::open("/dev/null", O_RDWR));
        before = own_table();
      },
      [&] {
        must_be_same(before);
        char byte = 0;
        must(::read(zero.get(), &byte, 1) == 0 && ::read(outside.get(), &byte, 1) == 1, "files");
        must(test::file_exists("/dev/null") && !test::file_exists("/etc"), "root");
      });
}

CR_TEST(mount_namespace, what_other_mounts_cover_keeps_its_files) {
  test::Scratch scratch;
  const std::string dir = scratch.path();
  std::string before;
  test::checkpoint_beside(
      [&] {
        must(unshare_mounts() && mount_at(dir, "tmpfs") && make_file(dir + "/first", "1") &&
                 make_directory(dir + "/in") && mount_at(dir + "/in", "tmpfs") &&
                 make_file(dir + "/in/second", "2") && mount_at(dir, "tmpfs") &&
                 make_file(dir + "/third", "3") && bind_at("/etc", dir),
             "set up");
        before = own_table();
      },
      [&] {
        must_be_same(before);
        must(::umount(dir.c_str()) == 0 && test::file_text(dir + "/third") == "3", "third");
        must(::umount(dir.c_str()) == 0 && test::file_text(dir + "/first") == "1" &&
                 test::file_text(dir + "/in/second") == "2",
             "first");
      });
}

CR_TEST(mount_namespace, message_queues_are_mounted_again) {
  test::Scratch scratch;
  const std::string dir = scratch.path();
  test::checkpoint_beside(
      [&] {
        must(unshare_mounts() && mount_at(dir, "mqueue"), "set up");
        (void)::mq_unlink("/nativecr-test");  // of a test that was killed
        mq_attr attributes{};
        attributes.mq_maxmsg = 1;
        attributes.mq_msgsize = 8;
        const mqd_t queue = ::mq_open("/nativecr-test", O_RDWR | O_CREAT, 0600, &attributes);
        must(queue >= 0 && ::mq_send(queue, "text", 4, 0) == 0 && ::mq_close(queue) == 0, "queue");
      },
      [&] {
        must(test::file_text(dir + "/nativecr-test").starts_with("QSIZE:4"), "file");
        must(::mq_unlink("/nativecr-test") == 0, "unlink");
      });
}

}  // namespace
}  // namespace ncr::mount_namespace
