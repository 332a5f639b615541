// Mount namespaces of one tree that have something in common. Needs CAP_SYS_ADMIN.
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>

#include "tests/engine/resources/beside.h"
#include "tests/engine/resources/mount_namespace/mount_dweller.h"
#include "tests/support/scratch.h"

namespace ncr::mount_namespace {
namespace {

// Both namespaces are made before the first is filled, as a restore does.
struct TwoSpaces {
  Image image;
  RestoreRequest request = {};
  std::string second_table;  // mountinfo of before
  Fd spaces[2];

  Result<> enter(uint32_t id) {
    TRY(SYSCALL(::setns(spaces[id - 1].get(), CLONE_NEWNS), "setns"));
    return {};
  }
  bool make() {
    for (Fd& space : spaces) {
      if (::unshare(CLONE_NEWNS) != 0) return false;
      space = sys::open("/proc/self/ns/mnt", O_RDONLY).take();
    }
    SharedMemoryObjects content;
    for (const schema::Namespace& record : image.namespaces) {
      if (!enter(record.id()).ok()) return false;
      Result<> built =
          kRoom.build({image, request, content, record, [this](uint32_t id) { return enter(id); }});
      if (!built.ok()) std::fprintf(stderr, "%s\n", built.error().text().c_str());
      if (!built.ok()) return false;
    }
    return true;
  }
};

// Whether a child of ours, which stays, has set itself up.
bool child_does(const std::function<bool()>& set_up) {
  int ready[2];
  if (::pipe(ready) != 0) return false;
  if (::fork() == 0) {
    const bool well = ::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && set_up();
    for (int fd = 3; fd < 100; fd++)
      if (fd != ready[1]) ::close(fd);
    (void)!::write(ready[1], well ? "y" : "n", 1);
    ::pause();
  }
  char answer = 0;
  return ::read(ready[0], &answer, 1) == 1 && answer == 'y';
}

// Both namespaces of a dweller whose child has one of its own.
void dump_both(const Dweller& dweller, TwoSpaces* two, const DumpRequest& request = {}) {
  const std::vector<pid_t> inside = test::children_of(dweller.task().pid);
  ASSERT_EQ(inside.size(), 1u);
  Dumped first = dump(dweller, request);
  Dumped second = dump(task_of(inside[0]), request, dweller.task().pid);
  EXPECT_TRUE(first.blockers.empty());
  EXPECT_TRUE(second.blockers.empty());
  two->image.namespaces = {first.record, second.record};
  two->image.namespaces[0].set_id(1);
  two->image.namespaces[1].set_id(2);
  two->second_table = sys::read_file(strf("/proc/%d/mountinfo", inside[0]).c_str()).take();
}

TEST(mount_namespace, what_two_namespaces_share_is_shared_again) {
  test::Scratch scratch;
  const std::string dir = scratch.path();
  auto spreads = [&](unsigned long how) { return ::mount("", dir.c_str(), "", how, nullptr) == 0; };
  Dweller before([&] {
    return unshare_mounts() && mount_at(dir, "tmpfs") && make_directory(dir + "/a") &&
           make_directory(dir + "/b") && make_file(dir + "/file", "x") && spreads(MS_SHARED) &&
           child_does([&] {
             return ::unshare(CLONE_NEWNS) == 0 && spreads(MS_SLAVE) &&
                    mount_at(dir + "/a", "tmpfs");
           });
  });
  ASSERT_TRUE(before.well());
  TwoSpaces two;
  dump_both(before, &two);
  Dweller after([&] {
    bool well = two.make() && make_file(dir + "/new") && two.enter(1).ok() &&
                test::file_exists(dir + "/new") && test::file_text(dir + "/file") == "x" &&
                mount_at(dir + "/b", "proc");
    // What the first mounts, the second gets, and not the other way round.
    return well && two.enter(2).ok() && test::file_exists(dir + "/b/self") &&
           ::umount((dir + "/b").c_str()) == 0 && two.enter(1).ok() &&
           test::file_exists(dir + "/b/self") && two.enter(2).ok();
  });
  ASSERT_TRUE(after.well());
  expect_same(two.second_table, after.table());
}

bool move_root_to(const std::string& dir) {
  return ::chdir(dir.c_str()) == 0 && ::syscall(SYS_pivot_root, ".", ".") == 0 &&
         ::umount2(".", MNT_DETACH) == 0 && ::chdir("/") == 0;
}

bool become_container(const std::string& root) {
  bool made = unshare_mounts() && bind_at(root, root);
  for (const char* name : {"/proc", "/memory"}) made = made && make_directory(root + name);
  return made && mount_at(root + "/proc", "proc") && move_root_to(root);
}

bool fill_memory() {
  return mount_at("/memory", "tmpfs", "size=1m") && make_file("/memory/kept", "text") &&
         make_directory("/memory/proc") && mount_at("/memory/proc", "proc");
}

// What a restore is given for the root of the tree is not that of every namespace.
void files_of_a_root_in_memory_come_back(unsigned long how_the_first_spreads) {
  test::Scratch scratch;
  test::Scratch copy;
  Dweller before([&] {
    return become_container(scratch.path()) &&
           ::mount("", "/", "", how_the_first_spreads | MS_REC, nullptr) == 0 && child_does([] {
             return ::unshare(CLONE_NEWNS) == 0 && ::mount("", "/", "", MS_PRIVATE, nullptr) == 0 &&
                    fill_memory() && move_root_to("/memory");
           });
  });
  ASSERT_TRUE(before.well());
  DumpRequest request;
  request.root = scratch.path();
  TwoSpaces two;
  dump_both(before, &two, request);
  for (const char* name : {"/proc", "/memory"}) ASSERT_TRUE(make_directory(copy.path() + name));
  two.request.root = copy.path();
  Dweller after([&] { return two.make(); });
  ASSERT_TRUE(after.well());
  expect_same(two.second_table, after.table());
  EXPECT_EQ(test::file_text(after.path("/kept")), "text");
}

TEST(mount_namespace, files_of_a_further_root_in_memory_come_back_beside_a_given_root) {
  files_of_a_root_in_memory_come_back(MS_PRIVATE);
  files_of_a_root_in_memory_come_back(MS_SHARED);
}

TEST(mount_namespace, a_root_in_memory_that_both_namespaces_show_is_one_again) {
  test::Scratch scratch;
  Dweller before([&] {
    return become_container(scratch.path()) && fill_memory() &&
           child_does([] { return unshare_mounts() && move_root_to("/memory"); });
  });
  ASSERT_TRUE(before.well());
  DumpRequest request;
  request.root = scratch.path();
  TwoSpaces two;
  dump_both(before, &two, request);
  two.request.root = scratch.path();
  Dweller after([&] {
    return two.make() && make_file("/new") && two.enter(1).ok() &&
           test::file_exists("/memory/new") && test::file_text("/memory/kept") == "text" &&
           two.enter(2).ok();
  });
  ASSERT_TRUE(after.well());
  expect_same(two.second_table, after.table());
}

// Nothing at /proc, not even a folder. What a restore makes through a procfs: second descriptions,
// unlinked files, watches of them, connections to sockets without a name.
CR_TEST(mount_namespace, a_process_whose_root_has_no_proc_comes_back) {
  test::Scratch scratch;
  const std::string dir = scratch.path();
  Fd files[2];
  Fd ghost;
  Fd watch;
  test::checkpoint_beside(
      [&] {
        must(unshare_mounts() && mount_at(dir, "tmpfs", "size=1m") &&
                 make_file(dir + "/kept", "text") && move_root_to(dir),
             "set up");
        for (Fd& file : files) file = MUST(sys::open("/kept", O_RDWR));
        ghost = MUST(sys::open("/gone", O_RDWR | O_CREAT, 0640));
        must(sys::write_all(ghost, "ghost", 5).ok() && ::unlink("/gone") == 0, "ghost");
        watch = Fd(MUST(SYSCALL(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC), "inotify_init1")));
        must(::inotify_add_watch(watch.get(), "/", IN_CREATE) == 1, "watch");
      },
      [&] {
        must(test::file_text("/kept") == "text" && !test::file_exists("/proc"), "root");
        char text[6] = {};
        must(::pread(ghost.get(), text, 5, 0) == 5 && std::string(text) == "ghost", "ghost");
        must(::ftruncate(files[0].get(), 2) == 0 && test::file_text("/kept") == "te", "file");
        must(make_file("/new") && ::read(watch.get(), text, 0) == -1 && errno == EINVAL, "event");
      });
}

}  // namespace
}  // namespace ncr::mount_namespace
