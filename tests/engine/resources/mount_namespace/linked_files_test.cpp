// Files that have lost their name where they were opened, and have another one that their mount
// does not show. Needs CAP_SYS_ADMIN.
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include "tests/engine/resources/beside.h"
#include "tests/engine/resources/mount_namespace/mount_dweller.h"
#include "tests/support/scratch.h"

namespace ncr::mount_namespace {
namespace {

std::string path_of(const Fd& file) {
  return sys::read_link_at(Fd(), strf("/proc/self/fd/%d", file.get()).c_str()).take();
}

uint64_t mount_of(const Fd& file) {
  struct statx status {};
  must(::statx(file.get(), "", AT_EMPTY_PATH, STATX_MNT_ID, &status) == 0, "statx");
  return status.stx_mnt_id;
}

bool is_one_file(const Fd& a, const Fd& b) {
  struct stat first {
  }, second{};
  return ::fstat(a.get(), &first) == 0 && ::fstat(b.get(), &second) == 0 &&
         first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

bool make_system(const std::string& dir) {
  return mount_at(dir, "tmpfs") && make_directory(dir + "/all") &&
         mount_at(dir + "/all", "tmpfs") && make_directory(dir + "/all/in") &&
         make_directory(dir + "/part") && make_file(dir + "/all/in/file", "text") &&
         bind_at(dir + "/all/in", dir + "/part");
}

// Not rename(2): with that the file that is open has the new name.
bool move_name(const std::string& dir) {
  return ::link((dir + "/all/in/file").c_str(), (dir + "/all/other").c_str()) == 0 &&
         ::unlink((dir + "/all/in/file").c_str()) == 0;
}

CR_TEST(mount_namespace, a_file_that_lost_its_name_on_a_mount_of_one_folder_stays_on_that_mount) {
  test::Scratch scratch;
  const std::string dir = scratch.path();
  Fd file;
  test::checkpoint_beside(
      [&] {
        must(unshare_mounts() && make_system(dir), "set up");
        file = MUST(sys::open((dir + "/part/file").c_str(), O_RDWR));
        must(move_name(dir), "move");
      },
      [&] {
        const Fd part = MUST(sys::open((dir + "/part").c_str(), O_PATH));
        const Fd other = MUST(sys::open((dir + "/all/other").c_str(), O_RDONLY));
        must(mount_of(file) == mount_of(part), "mount");
        must(is_one_file(file, other), "file");
        must(::access((dir + "/part/file").c_str(), F_OK) != 0, "no name is left");
      });
}

struct Pipe {
  int ends[2];
  Pipe() { must(::pipe(ends) == 0, "pipe"); }
  bool write() const { return ::write(ends[1], "x", 1) == 1; }
  bool read() const {
    char byte = 0;
    return ::read(ends[0], &byte, 1) == 1;
  }
};

// In a mount namespace that does not show all of the file system.
int live_in_part(const std::string& dir, const Pipe& ready, const Pipe& go) {
  if (::unshare(CLONE_NEWNS) != 0) return 1;
  const Fd file = MUST(sys::open((dir + "/part/file").c_str(), O_RDWR));
  if (!move_name(dir) || ::umount((dir + "/all").c_str()) != 0) return 2;
  if (!ready.write() || !go.read()) return 3;
  const Fd part = MUST(sys::open((dir + "/part").c_str(), O_PATH));
  const Fd above = MUST(
      sys::open(strf("/proc/%d/root%s/all/other", ::getppid(), dir.c_str()).c_str(), O_RDONLY));
  if (mount_of(file) != mount_of(part)) return 4;
  if (!is_one_file(file, above)) return 5;
  if (path_of(file) != dir + "/part/file (deleted)") return 6;
  if (::access((dir + "/part/file").c_str(), F_OK) == 0) return 7;
  char text[4] = {};
  return ::pread(file.get(), text, 4, 0) == 4 && std::string(text, 4) == "text" ? 0 : 8;
}

CR_TEST(mount_namespace, a_file_whose_only_name_is_in_another_namespace_stays_on_its_mount) {
  test::Scratch scratch;
  const std::string dir = scratch.path();
  Pipe ready;
  Pipe go;
  pid_t child = 0;
  test::checkpoint_beside(
      [&] {
        must(unshare_mounts() && make_system(dir), "set up");
        child = ::fork();
        if (child == 0) ::_exit(live_in_part(dir, ready, go));
        must(ready.read(), "child");
      },
      [&] {
        int status = -1;
        must(go.write() && ::waitpid(child, &status, 0) == child, "wait");
        must(status == 0, test::describe_exit(status).c_str());
      });
}

}  // namespace
}  // namespace ncr::mount_namespace
