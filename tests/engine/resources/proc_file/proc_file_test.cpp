#include "engine/resources/proc_file/proc_file.h"

#include <signal.h>
#include <sys/wait.h>

#include "tests/engine/resources/reopening.h"
#include "tests/support/checkpoint_test.h"
#include "tests/support/child_process.h"

namespace ncr {
namespace {

TEST(ProcFile, the_process_stands_in_the_path) {
  EXPECT_EQ(proc_file::process_in("/proc/77/stat"), 77);
  EXPECT_EQ(proc_file::process_in("/proc/77"), 77);
  EXPECT_EQ(proc_file::process_in("/proc/77 (deleted)"), 77);
  EXPECT_EQ(proc_file::process_in("/proc/77x"), 0);
  EXPECT_EQ(proc_file::process_in("/proc/meminfo"), 0);
  EXPECT_EQ(proc_file::process_in("/srv/77"), 0);
}

std::string text_of(const Fd& file) {
  char text[256] = "";
  const ssize_t got = ::pread(file.get(), text, sizeof text - 1, 0);
  return got < 0 ? "error" : std::string(text, static_cast<size_t>(got));
}

CR_TEST(proc_file, shows_oneself_and_a_child) {
  const pid_t child = test::fork_child([] {
    for (;;) ::pause();
  });
  Fd self = MUST(sys::open("/proc/self/stat", O_RDONLY));
  Fd other = MUST(sys::open(strf("/proc/%d/stat", child).c_str(), O_RDONLY));
  Fd folder = MUST(sys::open(strf("/proc/%d", child).c_str(), O_RDONLY | O_DIRECTORY));
  checkpoint_restore();
  EXPECT_EQ(std::atoi(text_of(self).c_str()), ::getpid());
  EXPECT_EQ(std::atoi(text_of(other).c_str()), child);
  EXPECT_NE(MUST(sys::read_file_at(folder, "status")), "");
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(text_of(other), "error") << "the process is gone";
}

CR_TEST(proc_file, of_a_process_that_is_gone_shows_nothing) {
  const pid_t child = test::fork_child([] {
    for (;;) ::pause();
  });
  Fd file = MUST(sys::open(strf("/proc/%d/stat", child).c_str(), O_RDONLY));
  Fd folder = MUST(sys::open(strf("/proc/%d", child).c_str(), O_RDONLY | O_DIRECTORY));
  ASSERT_EQ(::chdir(strf("/proc/%d", child).c_str()), 0);
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  checkpoint_restore();
  EXPECT_EQ(text_of(file), "error");
  EXPECT_FALSE(sys::read_file_at(folder, "status").ok());
  EXPECT_FALSE(sys::read_file("status").ok()) << "the working directory";
  EXPECT_EQ(::waitpid(-1, &status, WNOHANG), -1) << "no child of ours is left";
}

}  // namespace
}  // namespace ncr
