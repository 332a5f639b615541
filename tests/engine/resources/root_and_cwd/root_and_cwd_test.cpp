#include <unistd.h>

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

CR_TEST_WITH(root_and_cwd, a_removed_directory_is_named, .refused_with = "it was removed") {
  char path[] = "/tmp/removed-XXXXXX";
  ASSERT_NE(mkdtemp(path), nullptr);
  ASSERT_EQ(chdir(path), 0);
  ASSERT_EQ(rmdir(path), 0);
  checkpoint_restore();
}

CR_TEST_WITH(root_and_cwd, a_changed_root_is_named, .refused_with = "root directory") {
  static std::atomic<int>* flags = static_cast<std::atomic<int>*>(
      mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  pid_t pid = fork_child([] {
    if (chroot("/usr") == 0 && chdir("/") == 0) flags[0] = 1;
    await(flags[1]);
  });
  await(flags[0]);
  checkpoint_restore();
  flags[1] = 1;
  int status = -1;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
}

}  // namespace
}  // namespace ncr::test
