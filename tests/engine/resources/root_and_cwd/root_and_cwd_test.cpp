#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <stdexcept>

#include "tests/engine/resources/beside.h"

namespace ncr::test {
namespace {

CR_TEST(root_and_cwd, a_process_is_where_it_was) {
  ASSERT_EQ(chdir("/usr/share"), 0);
  checkpoint_restore();
  char path[256] = "";
  ASSERT_NE(getcwd(path, sizeof path), nullptr);
  EXPECT_STREQ(path, "/usr/share");
}

CR_TEST(root_and_cwd, a_removed_directory_is_still_where_it_is) {
  char path[] = "/tmp/removed-XXXXXX";
  ASSERT_NE(mkdtemp(path), nullptr);
  ASSERT_EQ(chdir(path), 0);
  ASSERT_EQ(rmdir(path), 0);
  checkpoint_restore();
  struct stat here {};
  ASSERT_EQ(stat(".", &here), 0);
  EXPECT_EQ(here.st_nlink, 0u);
  char link[256] = "";
  ASSERT_GT(readlink("/proc/self/cwd", link, sizeof link), 0);
  EXPECT_EQ(std::string(link), std::string(path) + " (deleted)");
}

CR_TEST(root_and_cwd, a_removed_directory_is_the_one_that_is_open_too) {
  char path[] = "/tmp/removed-XXXXXX";
  ASSERT_NE(mkdtemp(path), nullptr);
  const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  ASSERT_EQ(chdir(path), 0);
  ASSERT_EQ(rmdir(path), 0);
  checkpoint_restore();
  struct stat here {
  }, opened{};
  ASSERT_EQ(stat(".", &here), 0);
  ASSERT_EQ(fstat(fd, &opened), 0);
  EXPECT_EQ(here.st_ino, opened.st_ino);
  close(fd);
}

CR_TEST(root_and_cwd, a_changed_root_stays_changed) {
  checkpoint_beside(
      [] {
        if (chdir("/usr/share") != 0 || chroot("/usr") != 0) throw std::runtime_error("chroot");
      },
      [] {
        struct stat inside {};
        struct stat here {};
        if (stat("/share", &inside) != 0 || stat(".", &here) != 0 || inside.st_ino != here.st_ino ||
            stat("/usr", &inside) == 0)
          throw std::runtime_error("not in the changed root");
      });
}

}  // namespace
}  // namespace ncr::test
