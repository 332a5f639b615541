#include "engine/resources/file_table.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/io_uring.h>
#include <linux/sched.h>
#include <sys/fanotify.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/engine/resources/reopening.h"
#include "tests/support/checkpoint_test.h"
#include "tests/support/child_process.h"

namespace ncr {
namespace {

Task task_of(pid_t pid) {
  Task task;
  task.pid = pid;
  task.comm = "target";
  task.pidfd = value_of(sys::pidfd_open(pid));
  task.proc = value_of(sys::open(("/proc/" + std::to_string(pid)).c_str(), O_PATH | O_DIRECTORY));
  return task;
}

// A forked child that waits, with what this process has open, until the object goes.
class Child {
 public:
  Child() : pid_(::fork()) {
    if (pid_ == 0)
      for (;;) ::pause();
  }
  ~Child() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_;
};

uint32_t id_at(const schema::Task& record, int number) {
  for (const schema::Descriptor& descriptor : record.descriptors())
    if (descriptor.number() == number) return descriptor.file_id();
  return 0;
}

TEST(FileTable, sees_what_dup_shares_and_what_a_second_open_does_not) {
  Fd first = value_of(sys::open("/dev/null", O_RDWR));
  Fd second = value_of(sys::open("/dev/null", O_RDWR));
  Fd copy(::fcntl(first.get(), F_DUPFD, 0));
  Child child;
  Task task = task_of(child.pid());
  FileTable table;
  Blockers blockers;
  schema::Task record;
  Result<> added = table.add_task(task, {}, &record, &blockers);
  ASSERT_TRUE(added.ok()) << added.error().text();
  EXPECT_NE(id_at(record, first.get()), 0u);
  EXPECT_EQ(id_at(record, first.get()), id_at(record, copy.get()));
  EXPECT_NE(id_at(record, first.get()), id_at(record, second.get()));
  for (const schema::Descriptor& descriptor : record.descriptors()) {
    if (descriptor.number() != first.get() && descriptor.number() != copy.get()) continue;
    EXPECT_EQ(descriptor.close_on_exec(), descriptor.number() == first.get());
  }
}

TEST(FileTable, gives_one_id_to_a_description_that_two_tasks_share) {
  Fd file = value_of(sys::open("/dev/null", O_RDWR));
  Child one;
  Child two;
  Task first = task_of(one.pid());
  Task second = task_of(two.pid());
  FileTable table;
  Blockers blockers;
  schema::Task first_record;
  schema::Task second_record;
  ASSERT_TRUE(table.add_task(first, {}, &first_record, &blockers).ok());
  size_t files = table.records().size();
  ASSERT_TRUE(table.add_task(second, {file.get()}, &second_record, &blockers).ok());
  EXPECT_EQ(table.records().size(), files) << "everything is inherited by both";
  EXPECT_EQ(id_at(first_record, 0), id_at(second_record, 0));
  EXPECT_EQ(id_at(second_record, file.get()), 0u) << "numbers of the parasite are left out";
}

TEST(FileTable, finds_a_file_in_flight_by_the_task_that_has_it_too) {
  Fd file = value_of(sys::open("/dev/null", O_RDWR));
  Child child;
  Task task = task_of(child.pid());
  FileTable table;
  Blockers blockers;
  schema::Task record;
  ASSERT_TRUE(table.add_task(task, {}, &record, &blockers).ok());
  EXPECT_EQ(value_of(table.add_local(Fd(::fcntl(file.get(), F_DUPFD_CLOEXEC, 0)))),
            id_at(record, file.get()));
  uint32_t alone = value_of(table.add_local(value_of(sys::open("/dev/null", O_RDWR))));
  EXPECT_NE(alone, id_at(record, file.get()));
}

TEST(FileTable, names_every_blocker_of_a_task_at_once) {
  io_uring_params params{};
  Fd ring(static_cast<int>(::syscall(SYS_io_uring_setup, 2, &params)));
  Fd raw_disk = value_of(sys::open("/dev/kmsg", O_RDONLY));
  Fd watch(::fanotify_init(FAN_CLASS_CONTENT, O_RDONLY));
  Child child;
  Task task = task_of(child.pid());
  FileTable table;
  Blockers blockers;
  schema::Task record;
  ASSERT_TRUE(table.add_task(task, {}, &record, &blockers).ok());
  std::string all;
  for (const Blocker& blocker : blockers.list()) all += blocker.object + "\n";
  EXPECT_EQ(all.find("io_uring") != std::string::npos, ring.valid()) << all;
  EXPECT_NE(all.find("/dev/kmsg"), std::string::npos) << all;
  EXPECT_EQ(all.find("fanotify") != std::string::npos, watch.valid()) << all;
}

TEST(FileTable, keeps_who_gets_the_signals_of_a_file) {
  Reopening trip;
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  Fd read(ends[0]);
  Fd write(ends[1]);
  ASSERT_EQ(::fcntl(read.get(), F_SETOWN, ::getpid()), 0);
  ASSERT_EQ(::fcntl(read.get(), F_SETSIG, SIGUSR1), 0);
  const schema::FileOwner& owner = trip.record(trip.dump(read.get())).owner();
  EXPECT_EQ(owner.pid(), ::getpid());
  EXPECT_EQ(owner.signal(), SIGUSR1);
  EXPECT_EQ(owner.type(), F_OWNER_PID);
}

TEST(FileTable, keeps_locks_of_the_description_and_of_the_process_apart) {
  char path[] = "/tmp/nativecr-lock-XXXXXX";
  Fd file(::mkostemp(path, O_CLOEXEC));
  ASSERT_EQ(::flock(file.get(), LOCK_EX), 0);
  Reopening trip;
  const schema::OpenFile& record = trip.record(trip.dump(file.get()));
  ASSERT_EQ(record.locks_size(), 1);
  EXPECT_EQ(record.locks(0).kind(), schema::FileLock::FLOCK);
  EXPECT_TRUE(record.locks(0).write());
  ::unlink(path);
}

CR_TEST(file_table, two_processes_with_one_descriptor_table_still_have_one) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  constexpr int kNew = 50;
  pid_t child = static_cast<pid_t>(::syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0));
  if (child == 0) {
    char go = 0;
    if (::read(ends[0], &go, 1) != 1) ::_exit(1);
    ::_exit(::dup2(ends[0], kNew) == kNew ? 0 : 2);
  }
  checkpoint_restore();
  ASSERT_EQ(::write(ends[1], "x", 1), 1);
  int status = -1;
  EXPECT_TRUE(test::wait_exit(child, &status, std::chrono::seconds(10)));
  EXPECT_EQ(status, 0);
  EXPECT_GE(::fcntl(kNew, F_GETFD), 0) << "what the child put there is here";
}

CR_TEST(file_table, the_owner_of_a_file_gets_its_signals) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGUSR2);
  ASSERT_EQ(::sigprocmask(SIG_BLOCK, &mask, nullptr), 0);
  ASSERT_EQ(::fcntl(ends[0], F_SETOWN, ::getpid()), 0);
  ASSERT_EQ(::fcntl(ends[0], F_SETSIG, SIGUSR2), 0);
  ASSERT_EQ(::fcntl(ends[0], F_SETFL, O_ASYNC), 0);
  checkpoint_restore();
  EXPECT_EQ(::fcntl(ends[0], F_GETOWN), ::getpid());
  EXPECT_EQ(::fcntl(ends[0], F_GETFL) & O_ASYNC, O_ASYNC);
  ASSERT_EQ(::write(ends[1], "x", 1), 1);
  timespec patience{10, 0};
  EXPECT_EQ(::sigtimedwait(&mask, nullptr, &patience), SIGUSR2);
}

CR_TEST_WITH(file_table, every_kind_that_cannot_be_dumped_is_named,
             .refused_with = "mount context") {
  Fd context(MUST(SYSCALL(::fsopen("tmpfs", FSOPEN_CLOEXEC), "fsopen")));
  checkpoint_restore();
  EXPECT_GE(::fcntl(context.get(), F_GETFD), 0);
}

}  // namespace
}  // namespace ncr
