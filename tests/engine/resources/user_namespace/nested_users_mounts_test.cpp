// Mount namespaces that belong to user namespaces below that of the tree's root.
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include "tests/engine/resources/mount_namespace/mount_dweller.h"
#include "tests/engine/resources/user_namespace/user_dweller.h"

namespace ncr {
namespace {

using namespace test;
using namespace mount_namespace;

constexpr const char* kHere = "/mnt";
std::string here(const std::string& name) { return std::string(kHere) + "/" + name; }

void expect_mounts(const std::string& before) {
  EXPECT_EQ(comparable(before), comparable(own_table())) << own_table();
}

// What may be done to a mount by the namespace's owner, tried without a trace.
std::string locks_of(const std::string& path) {
  std::string locks;
  Result<Fd> opened = sys::open(path.c_str(), O_PATH);
  if (!opened.ok()) return "out of reach";
  const Fd mount = opened.take();
  // Onto itself: never done, for one reason or the other.
  EXPECT_NE(::move_mount(mount.get(), "", mount.get(), "",
                         MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH),
            0);
  locks += errno == ELOOP ? "movable" : "fixed";
  for (uint64_t attribute : {MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV,
                             MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOATIME}) {
    mount_attr change{};
    change.attr_clr = attribute == MOUNT_ATTR_NOATIME ? MOUNT_ATTR__ATIME : attribute;
    const Fd copy(::open_tree(mount.get(), "",
                              OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE));
    EXPECT_TRUE(copy.valid()) << strerror(errno);
    if (attribute == MOUNT_ATTR_NOATIME) change.attr_set = MOUNT_ATTR_NOATIME;
    const int changed = ::mount_setattr(copy.get(), "", AT_EMPTY_PATH, &change, sizeof change);
    locks += changed == 0 ? " free" : " locked";
  }
  return locks;
}

std::string locks_of_all() {
  std::string all;
  std::vector<MountLine> lines = parse_mountinfo(own_table()).take();
  std::sort(lines.begin(), lines.end(),
            [](const MountLine& a, const MountLine& b) { return a.point < b.point; });
  for (const MountLine& line : lines) {
    const std::string locks = locks_of(line.point);
    // That of the first namespace's very root shows nowhere.
    all += line.point + ": " + (line.point == "/" ? locks.substr(locks.find(' ')) : locks) + "\n";
  }
  return all;
}

void expect_owner() {
  EXPECT_EQ(related("/proc/self/ns/mnt", NS_GET_USERNS), inode_at("/proc/self/ns/user"));
}

CR_TEST(nested_users_mounts, binds_and_a_tmpfs_on_top_of_what_was_there) {
  Gate gate;
  const pid_t child = fork_user(CLONE_NEWNS, [&] {
    must(::mount("", "/", "", MS_REC | MS_PRIVATE, nullptr) == 0, "private");
    must(mount_at(kHere, "tmpfs", "size=1m,mode=750"), "tmpfs");
    must(make_file(here("file"), "what was written"), "file");
    must(make_directory(here("usr")) && bind_at("/usr", here("usr")), "bind");
    must(::mount("", here("usr").c_str(), "", MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID,
                 nullptr) == 0,
         "read-only");
    must(make_directory(here("bound")) && make_directory(here("dir")) &&
             bind_at(here("dir"), here("bound")),
         "bind of the tmpfs");
    const std::string table = own_table();
    const std::string locks = locks_of_all();
    Fd file = MUST(sys::open(here("file").c_str(), O_RDWR));
    expect_owner();
    gate.pass();
    expect_mounts(table);
    EXPECT_EQ(locks, locks_of_all());
    expect_owner();
    EXPECT_EQ(MUST(sys::read_file(here("file").c_str())), "what was written");
    EXPECT_EQ(sys::pwrite_all(file, "WHAT", 4, 0).ok(), true);
    EXPECT_EQ(MUST(sys::read_file(here("file").c_str())), "WHAT was written");
    must(make_file(here("dir/new")), "file in the tmpfs");
    EXPECT_EQ(::access(here("bound/new").c_str(), F_OK), 0);
    file.close();
    EXPECT_EQ(::umount2(here("usr").c_str(), 0), 0) << strerror(errno);
    EXPECT_EQ(::mount("", kHere, "", MS_REMOUNT, "size=2m"), 0) << strerror(errno);
    EXPECT_EQ(::umount2(kHere, MNT_DETACH), 0) << strerror(errno);
    EXPECT_NE(::umount2("/proc", MNT_DETACH), 0);
  });
  gate.wait_ready(1);
  checkpoint_restore();
  EXPECT_NE(link_of(strf("/proc/%d/ns/mnt", child)), link_of("/proc/self/ns/mnt"));
  gate.open(1);
  expect_success(child);
}

sockaddr_un address_of(const std::string& name) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  strcpy(address.sun_path, name.c_str());
  return address;
}

int bound_socket(const std::string& name) {
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const sockaddr_un address = address_of(name);
  must(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0, "bind");
  return fd;
}

// Where the users of those who restore it do not exist.
CR_TEST(nested_users_mounts, unlinked_files_and_bound_sockets_in_a_tmpfs_of_its_own) {
  Gate gate;
  const pid_t child = fork_user(CLONE_NEWNS, [&] {
    must(mount_at(kHere, "tmpfs", "size=1m"), "tmpfs");
    must(make_file(here("file"), "unlinked") && make_directory(here("gone")), "files");
    must(make_file(here("gone/too"), "with its folder"), "file in a folder");
    const Fd file = MUST(sys::open(here("file").c_str(), O_RDWR));
    const Fd too = MUST(sys::open(here("gone/too").c_str(), O_RDONLY));
    const Fd nameless = MUST(sys::open(kHere, O_RDWR | O_TMPFILE));
    must(::unlink(here("file").c_str()) == 0 && ::unlink(here("gone/too").c_str()) == 0 &&
             ::rmdir(here("gone").c_str()) == 0,
         "unlink");
    const Fd receiver(bound_socket(here("socket")));
    gate.pass();
    char text[64] = "";
    EXPECT_EQ(::pread(file.get(), text, sizeof text, 0), 8);
    EXPECT_STREQ(text, "unlinked");
    EXPECT_EQ(::pread(too.get(), text, sizeof text, 0), 15);
    struct stat status {};
    for (const Fd* fd : {&file, &too, &nameless}) {
      EXPECT_EQ(::fstat(fd->get(), &status), 0);
      EXPECT_EQ(status.st_nlink, 0u);
      EXPECT_EQ(status.st_uid, 0u);
      EXPECT_EQ(status.st_gid, 0u);
    }
    EXPECT_TRUE(sys::pwrite_all(nameless, "x", 1, 0).ok());
    EXPECT_EQ(::stat(here("socket").c_str(), &status), 0);
    EXPECT_EQ(status.st_uid, 0u);
    const Fd sender(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const sockaddr_un address = address_of(here("socket"));
    EXPECT_EQ(::sendto(sender.get(), "hello", 5, 0, reinterpret_cast<const sockaddr*>(&address),
                       sizeof address),
              5)
        << strerror(errno);
    EXPECT_EQ(::recv(receiver.get(), text, sizeof text, MSG_DONTWAIT), 5);
  });
  gate.wait_ready(1);
  checkpoint_restore();
  gate.open(1);
  expect_success(child);
}

// What was read-only, and without device nodes, before somebody else got it.
CR_TEST(nested_users_mounts, what_was_locked_stays_locked) {
  Gate gate;
  const pid_t parent = fork_with([&] {
    must(unshare_mounts(), "unshare");
    must(mount_at(kHere, "tmpfs", "size=1m", MS_NOSUID), "tmpfs");
    for (const char* name : {"ro", "under"}) must(make_directory(here(name)), name);
    must(make_file(here("under/secret"), "secret"), "secret");
    must(mount_at(here("ro"), "tmpfs", "size=1m", MS_NODEV | MS_NOEXEC | MS_NOATIME), "tmpfs");
    must(make_file(here("ro/file"), "file"), "file");
    must(
        ::mount("", here("ro").c_str(), "",
                MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NODEV | MS_NOEXEC | MS_NOATIME, nullptr) == 0,
        "read-only");
    must(bind_at(here("ro"), here("under")), "cover");
    const pid_t child = fork_user(CLONE_NEWNS, [&] {
      must(::mount("", here("ro").c_str(), "",
                   MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NOSUID,
                   nullptr) == 0,
           "no set-user-id programs");
      const std::string table = own_table();
      const std::string locks = locks_of_all();
      gate.pass();
      expect_mounts(table);
      EXPECT_EQ(locks, locks_of_all());
      EXPECT_NE(::mount("", here("ro").c_str(), "", MS_REMOUNT | MS_BIND, nullptr), 0);
      EXPECT_FALSE(sys::open(here("ro/file").c_str(), O_WRONLY).ok());
      EXPECT_EQ(MUST(sys::read_file(here("ro/file").c_str())), "file");
      EXPECT_NE(::umount2(here("under").c_str(), MNT_DETACH), 0);
      EXPECT_NE(::access(here("under/secret").c_str(), F_OK), 0);
      EXPECT_NE(::mount("", kHere, "", MS_REMOUNT, "size=2m"), 0);  // whose it is not
    });
    gate.pass();
    EXPECT_EQ(MUST(sys::read_file(here("ro/file").c_str())), "file");
    expect_success(child);
  });
  gate.wait_ready(2);
  checkpoint_restore();
  gate.open(2);
  expect_success(parent);
}

// A root of its own of binds, /dev and /proc, as bubblewrap lays it out.
void lay_out_sandbox() {
  must(::mount("", "/", "", MS_REC | MS_SLAVE, nullptr) == 0, "slave");
  must(mount_at("/tmp", "tmpfs", "mode=755", MS_NOSUID | MS_NODEV), "tmpfs");
  for (const char* name : {"/tmp/new", "/tmp/old"}) must(make_directory(name), name);
  must(::mount("/tmp/new", "/tmp/new", nullptr, MS_BIND | MS_REC, nullptr) == 0, "new root");
  must(::syscall(SYS_pivot_root, "/tmp", "/tmp/old") == 0 && ::chdir("/") == 0, "pivot_root");
  for (const char* name : {"usr", "proc", "dev", "tmp", "all"})
    must(make_directory(std::string("/new/") + name), name);
  must(::mount("/old/usr", "/new/usr", nullptr, MS_BIND | MS_REC, nullptr) == 0, "/usr");
  must(::mount("", "/new/usr", "", MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV,
               nullptr) == 0,
       "read-only");
  must(::mount("/old/sys", "/new/all", nullptr, MS_BIND | MS_REC, nullptr) == 0, "/sys");
  must(mount_at("/new/proc", "proc", nullptr, MS_NOSUID | MS_NODEV | MS_NOEXEC), "proc");
  must(mount_at("/new/dev", "tmpfs", "mode=755", MS_NOSUID | MS_NODEV), "/dev");
  must(make_file("/new/dev/null") && bind_at("/old/dev/null", "/new/dev/null"), "/dev/null");
  must(make_directory("/new/dev/pts") &&
           mount_at("/new/dev/pts", "devpts", "newinstance,ptmxmode=0666,mode=620",
                    MS_NOSUID | MS_NOEXEC),
       "devpts");
  must(bind_at("/new/dev/null", "/new/proc/cpuinfo"), "on top of /proc");
  must(make_file("/new/tmp/file", "inside"), "file");
  must(::umount2("/old", MNT_DETACH) == 0, "old root");
  must(::chdir("/new") == 0 && ::syscall(SYS_pivot_root, ".", ".") == 0 &&
           ::umount2(".", MNT_DETACH) == 0 && ::chdir("/") == 0,
       "second pivot_root");
}

void live_in_sandbox(const Gate& gate) {
  const std::string table = own_table();
  const std::string locks = locks_of_all();
  const Fd null = MUST(sys::open("/dev/null", O_RDWR));
  gate.pass();
  expect_mounts(table);
  EXPECT_EQ(locks, locks_of_all());
  EXPECT_EQ(link_of("/proc/self"), strf("%d", ::getpid()));
  EXPECT_EQ(MUST(sys::read_file("/tmp/file")), "inside");
  EXPECT_EQ(::access("/usr/bin", F_OK), 0);
  EXPECT_NE(::mkdir("/usr/made", 0755), 0);
  EXPECT_TRUE(sys::write_all(null, "x", 1).ok());
  EXPECT_TRUE(sys::write_all(MUST(sys::open("/dev/null", O_WRONLY)), "x", 1).ok());
  const int terminal = ::open("/dev/pts/ptmx", O_RDWR | O_NOCTTY);
  EXPECT_GE(terminal, 0) << strerror(errno);
  ::close(terminal);
  EXPECT_NE(::access("/old", F_OK), 0);
}

CR_TEST(nested_users_mounts, a_sandbox_with_a_root_and_processes_of_its_own) {
  Gate gate;
  const pid_t child = fork_with([&] {
    EXPECT_EQ(::chdir("/"), 0);  // which pivot_root(2) moves along
    unshare_with_maps(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET, kSomeIds);
    become(0);
    expect_success(fork_with([&] {
      lay_out_sandbox();
      live_in_sandbox(gate);
      expect_owner();
    }));
  });
  gate.wait_ready(1);
  checkpoint_restore();
  gate.open(1);
  expect_success(child);
}

// A second one takes the rights over the first's mounts away.
CR_TEST(nested_users_mounts, a_sandbox_that_goes_further_down) {
  Gate gate;
  const pid_t child = fork_with([&] {
    EXPECT_EQ(::chdir("/"), 0);  // which pivot_root(2) moves along
    unshare_with_maps(CLONE_NEWNS | CLONE_NEWPID, kSomeIds);
    become(0);
    expect_success(fork_with([&] {
      lay_out_sandbox();
      EXPECT_EQ(::unshare(CLONE_NEWUSER), 0);
      write_text("/proc/self/uid_map", "7 0 1");
      const std::string table = own_table();
      gate.pass();
      expect_mounts(table);
      EXPECT_EQ(::getuid(), 7u);
      EXPECT_NE(::umount2("/usr", MNT_DETACH), 0);
      EXPECT_EQ(errno, EPERM);
    }));
  });
  gate.wait_ready(1);
  checkpoint_restore();
  gate.open(1);
  expect_success(child);
}

CR_TEST(nested_users_mounts, one_below_the_other) {
  Gate gate;
  const pid_t child = fork_user(CLONE_NEWNS, [&] {
    must(::mount("", "/", "", MS_REC | MS_PRIVATE, nullptr) == 0, "private");
    must(mount_at(kHere, "tmpfs", "size=1m"), "tmpfs");
    must(make_directory(here("a")) && make_file(here("a/file"), "shared"), "file");
    const pid_t below = fork_with([&] {
      unshare_with_maps(CLONE_NEWNS, "0 0 20\n");
      must(mount_at("/tmp", "tmpfs", "size=1m"), "tmpfs");
      must(bind_at(here("a"), "/tmp"), "bind");
      const std::string table = own_table();
      const std::string locks = locks_of_all();
      gate.pass();
      expect_mounts(table);
      EXPECT_EQ(locks, locks_of_all());
      EXPECT_EQ(MUST(sys::read_file("/tmp/file")), "shared");
      must(make_file("/tmp/new"), "new file");
    });
    gate.pass();
    expect_success(below);
    EXPECT_EQ(::access(here("a/new").c_str(), F_OK), 0);
  });
  gate.wait_ready(2);
  checkpoint_restore();
  gate.open(1);
  gate.open(1);
  expect_success(child);
}

CR_TEST_WITH(nested_users_mounts, a_sysfs_of_a_network_below_is_refused_by_name,
             .refused_with = "mount /mnt (sysfs)") {
  Gate gate;
  const pid_t child = fork_user(CLONE_NEWNS | CLONE_NEWNET, [&] {
    must(mount_at(kHere, "sysfs", ""), "sysfs");
    gate.pass();
  });
  gate.wait_ready(1);
  checkpoint_restore();
  gate.open(1);
  expect_success(child);
}

CR_TEST(nested_users_mounts, one_that_only_a_descriptor_holds_is_kept) {
  Gate gate;
  const pid_t child = fork_user(CLONE_NEWNS, [&] {
    must(mount_at(kHere, "tmpfs", "size=1m") && make_file(here("file"), "kept"), "tmpfs");
    gate.pass();
  });
  gate.wait_ready(1);
  const Fd mounts = MUST(sys::open(strf("/proc/%d/ns/mnt", child).c_str(), O_RDONLY));
  const Fd user = MUST(sys::open(strf("/proc/%d/ns/user", child).c_str(), O_RDONLY));
  gate.open(1);
  expect_success(child);
  checkpoint_restore();
  expect_success(fork_with([&] {
    EXPECT_EQ(::setns(user.get(), CLONE_NEWUSER), 0) << strerror(errno);
    EXPECT_EQ(::setns(mounts.get(), CLONE_NEWNS), 0) << strerror(errno);
    EXPECT_EQ(MUST(sys::read_file(here("file").c_str())), "kept");
    EXPECT_EQ(::umount2(kHere, 0), 0) << strerror(errno);
  }));
}

CR_TEST_WITH(nested_users_mounts, a_tree_that_runs_on_keeps_what_it_has_mounted,
             .final_state = FinalState::kRun) {
  Gate gate;
  const pid_t child = fork_user(CLONE_NEWNS, [&] {
    must(mount_at(kHere, "tmpfs", "size=1m"), "tmpfs");
    const std::string table = own_table();
    const std::string locks = locks_of_all();
    gate.pass();
    EXPECT_EQ(table, own_table());
    EXPECT_EQ(locks, locks_of_all());
  });
  gate.wait_ready(1);
  checkpoint_restore();
  gate.open(1);
  expect_success(child);
}

}  // namespace
}  // namespace ncr
