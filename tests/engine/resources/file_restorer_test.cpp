#include "engine/resources/file_restorer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/procfs.h"

namespace ncr {
namespace {

// Two given descriptors stand for two files of an image; the installation runs in a forked child,
// because it closes everything else.
class FileRestorerTable : public testing::Test {
 protected:
  FileRestorerTable() {
    EXPECT_EQ(::pipe2(pipe_, O_CLOEXEC), 0);
    for (uint32_t id : {1u, 2u}) {
      image_.files[id].set_id(id);
      image_.files[id].set_path("pipe:[" + std::to_string(id) + "]");
      request_.inherited.push_back({image_.files[id].path(), pipe_[id - 1]});
    }
    task_.set_pid(100);
    plan_.image = &image_;
    plan_.service_fd_base = 300;
    TaskPlan& task = plan_.tasks.emplace_back();
    task.record = &task_;
    task.pid = 100;
    task.owned_files = {1, 2};
  }
  ~FileRestorerTable() override { ::close(pipe_[0]), ::close(pipe_[1]); }

  void use(int number, uint32_t id, bool close_on_exec = false) {
    schema::Descriptor* descriptor = task_.add_descriptors();
    descriptor->set_number(number);
    descriptor->set_file_id(id);
    descriptor->set_close_on_exec(close_on_exec);
  }

  // Runs `check` in a child with the table installed; true if it says so.
  template <class Check>
  bool installed(Check check) {
    pid_t child = ::fork();
    if (child == 0) {
      FileRestorer files(plan_, request_);
      bool done = files.open_owned(task_).ok() && files.install(task_).ok();
      ::_exit(done && check() ? 0 : 1);
    }
    int status = -1;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }

  static bool open(int number) { return ::fcntl(number, F_GETFD) >= 0; }
  static bool same(int a, int b) {
    struct stat first, second;
    return ::fstat(a, &first) == 0 && ::fstat(b, &second) == 0 && first.st_ino == second.st_ino;
  }

  int pipe_[2];
  Image image_;
  RestoreRequest request_;
  schema::Task task_;
  RestorePlan plan_;
};

TEST_F(FileRestorerTable, ends_with_exactly_the_table_of_the_image) {
  use(0, 1), use(7, 2), use(250, 1);
  EXPECT_TRUE(installed([] {
    for (int number = 0; number < 1024; number++)
      if (open(number) != (number == 0 || number == 7 || number == 250)) return false;
    return same(0, 250);
  }));
}

TEST_F(FileRestorerTable, keeps_close_on_exec_of_each_number) {
  use(3, 1, true), use(4, 1, false);
  EXPECT_TRUE(
      installed([] { return ::fcntl(3, F_GETFD) == FD_CLOEXEC && ::fcntl(4, F_GETFD) == 0; }));
}

TEST_F(FileRestorerTable, a_task_without_descriptors_ends_with_none) {
  EXPECT_TRUE(installed([] {
    for (int number = 0; number < 1024; number++)
      if (open(number)) return false;
    return true;
  }));
}

TEST_F(FileRestorerTable, leaves_the_executable_where_the_plan_says) {
  task_.mutable_memory()->set_exe_file_id(2);
  plan_.tasks[0].exe_fd = 299;
  use(0, 1);
  EXPECT_TRUE(installed([] { return open(0) && open(299) && !open(298) && !open(300); }));
}

TEST_F(FileRestorerTable, leaves_the_procfs_where_the_plan_says) {
  plan_.tasks[0].procfs_fd = 299;
  use(0, 1);
  EXPECT_TRUE(installed([] { return open(0) && !open(299); }));
  procfs::look_through(sys::open("/proc", O_PATH | O_DIRECTORY).take());
  EXPECT_TRUE(installed([] { return open(0) && open(299) && !open(298) && !open(300); }));
  procfs::look_through({});
}

TEST_F(FileRestorerTable, who_gets_the_signals_of_a_file_is_kept) {
  image_.files[1].mutable_owner()->set_type(F_OWNER_PID);
  image_.files[1].mutable_owner()->set_pid(::getpid());
  image_.files[1].mutable_owner()->set_signal(SIGUSR1);
  use(5, 1);
  EXPECT_TRUE(installed([] { return open(5); }));
}

TEST_F(FileRestorerTable, a_file_nobody_opened_is_an_error) {
  use(5, 77);
  FileRestorer files(plan_, request_);
  EXPECT_FALSE(files.opened(77).ok());
  EXPECT_EQ(files.record(77), nullptr);
  EXPECT_FALSE(files.take(1, "none").valid());
}

TEST_F(FileRestorerTable, a_member_of_a_group_finds_what_another_left) {
  FileRestorer files(plan_, request_);
  files.stash(9, "write", Fd(::dup(pipe_[1])));
  EXPECT_TRUE(files.take(9, "write").valid());
  EXPECT_FALSE(files.take(9, "write").valid());
}

}  // namespace
}  // namespace ncr
