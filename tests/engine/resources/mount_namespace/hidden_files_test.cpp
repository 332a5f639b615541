// Files that were opened before something was mounted in their way. Needs CAP_SYS_ADMIN.
#include <gtest/gtest.h>
#include <sys/mman.h>
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

CR_TEST(mount_namespace, files_that_mounts_hide_stay_open) {
  test::Scratch scratch;
  const std::string dir = scratch.path();
  Fd covered;
  Fd below;
  Fd ghost;
  test::checkpoint_beside(
      [&] {
        must(unshare_mounts() && mount_at(dir, "tmpfs") && make_file(dir + "/file", "covered") &&
                 make_directory(dir + "/in") && make_file(dir + "/in/file", "below"),
             "set up");
        covered = MUST(sys::open((dir + "/file").c_str(), O_RDWR));
        below = MUST(sys::open((dir + "/in/file").c_str(), O_RDONLY));
        ghost = MUST(sys::open((dir + "/in/gone").c_str(), O_RDWR | O_CREAT, 0600));
        must(sys::write_all(ghost, "ghost", 5).ok() && ::unlink((dir + "/in/gone").c_str()) == 0,
             "ghost");
        must(mount_at(dir + "/in", "tmpfs") && mount_at(dir, "tmpfs") &&
                 make_file(dir + "/file", "on top"),
             "cover");
      },
      [&] {
        char text[8] = {};
        must(::pread(covered.get(), text, 7, 0) == 7 && std::string(text) == "covered", "covered");
        must(path_of(covered) == dir + "/file" && path_of(below) == dir + "/in/file", "paths");
        must(::pread(below.get(), text, 5, 0) == 5 && std::string(text, 5) == "below", "below");
        must(::pread(ghost.get(), text, 5, 0) == 5 && std::string(text, 5) == "ghost", "ghost");
        must(test::file_text(dir + "/file") == "on top", "top");
        must(::ftruncate(covered.get(), 3) == 0 && ::umount(dir.c_str()) == 0 &&
                 test::file_text(dir + "/file") == "cov",
             "uncovered");
        struct stat of_ghost {};
        struct stat of_mount {};
        must(::fstat(ghost.get(), &of_ghost) == 0 && ::stat(dir.c_str(), &of_mount) == 0 &&
                 of_ghost.st_dev == of_mount.st_dev,
             "file system of the ghost");
      });
}

CR_TEST(mount_namespace, a_mapped_file_that_a_mount_hides_stays_mapped) {
  test::Scratch scratch;
  const std::string dir = scratch.path();
  char* mapped = nullptr;
  test::checkpoint_beside(
      [&] {
        must(unshare_mounts() && mount_at(dir, "tmpfs") && make_file(dir + "/file", "mapped"),
             "set up");
        Fd file = MUST(sys::open((dir + "/file").c_str(), O_RDWR));
        mapped = static_cast<char*>(
            ::mmap(nullptr, 6, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0));
        must(mapped != MAP_FAILED && mount_at(dir, "tmpfs"), "cover");
      },
      [&] {
        mapped[0] = 'M';
        must(::umount(dir.c_str()) == 0 && test::file_text(dir + "/file") == "Mapped", "mapping");
      });
}

}  // namespace
}  // namespace ncr::mount_namespace
