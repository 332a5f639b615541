#include "engine/resources/file_lock/file_lock.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "engine/base/sys.h"
#include "engine/resources/fdinfo.h"
#include "engine/resources/file_lock/description_locks.h"
#include "engine/resources/file_lock/lease.h"
#include "engine/resources/room.h"
#include "tests/support/checkpoint_test.h"
#include "tests/support/child_process.h"
#include "tests/support/scratch.h"

namespace ncr {
namespace {

const TaskRoom* file_lock_room() {
  for (const TaskRoom* room : task_rooms())
    if (std::strcmp(room->name, "file_lock") == 0) return room;
  return nullptr;
}

TEST(FileLock, a_process_takes_its_locks_in_the_last_stage_at_its_own_numbers) {
  schema::Task task;
  schema::Descriptor* descriptor = task.add_descriptors();
  descriptor->set_number(7);
  schema::FileLock* lock = descriptor->add_locks();
  lock->set_write(true);
  lock->set_start(10);
  lock->set_length(5);
  StepList steps;
  ASSERT_TRUE(file_lock_room()->plan(task, steps).ok());
  std::string late = steps.encode(wire::Stage::kLate, wire::Stage::kLate);
  ASSERT_EQ(late.size(), sizeof(wire::StepHeader) + sizeof(file_lock::TakeLock));
  file_lock::TakeLock step;
  std::memcpy(&step, late.data() + sizeof(wire::StepHeader), sizeof step);
  EXPECT_EQ(step.fd, 7);
  EXPECT_EQ(step.write, 1);
  EXPECT_EQ(step.start, 10u);
  EXPECT_EQ(step.length, 5u);
}

TEST(FileLock, a_lock_that_somebody_else_has_by_now_fails_the_restore) {
  test::Scratch scratch;
  Fd rival = MUST(sys::open(scratch.file("f").c_str(), O_RDWR | O_CREAT, 0600));
  Fd fd = MUST(sys::open(scratch.file("f").c_str(), O_RDWR));
  ASSERT_EQ(::flock(rival.get(), LOCK_EX), 0);
  schema::OpenFile record;
  record.add_locks()->set_kind(schema::FileLock::FLOCK);
  Result<> taken = file_lock::take_description_locks(fd, record);
  ASSERT_FALSE(taken.ok());
  EXPECT_NE(taken.error().text().find("another process"), std::string::npos);
}

LockInfo lease_lock(bool write, bool breaking, bool unlock) {
  LockInfo lock;
  lock.kind = LockKind::kLease;
  lock.write = write;
  lock.breaking = breaking;
  lock.unlock = unlock;
  return lock;
}

TEST(FileLock, a_lease_that_is_breaking_shows_only_what_it_will_be) {
  const schema::Lease whole = file_lock::lease_of(lease_lock(true, false, false), O_RDWR);
  EXPECT_EQ(whole.type(), F_WRLCK);
  EXPECT_FALSE(whole.breaking());
  EXPECT_EQ(file_lock::lease_of(lease_lock(false, true, true), O_RDONLY).type(), F_RDLCK);
  EXPECT_EQ(file_lock::lease_of(lease_lock(false, true, true), O_RDWR).type(), F_WRLCK);
  const schema::Lease lesser = file_lock::lease_of(lease_lock(false, true, false), O_RDONLY);
  EXPECT_EQ(lesser.type(), F_WRLCK);
  EXPECT_EQ(lesser.target(), F_RDLCK);
}

int open_without_waiting(const std::string& path, int flags) {
  return Fd(::open(path.c_str(), flags | O_NONBLOCK | O_CLOEXEC)).valid() ? 0 : errno;
}

CR_TEST(file_lock, leases_stay_and_tell_their_owner_when_they_end) {
  test::Scratch scratch;
  const std::string read_path = scratch.file("read");
  const std::string write_path = scratch.file("write");
  Fd writer = MUST(sys::open(write_path.c_str(), O_RDWR | O_CREAT, 0600));
  test::append_to(read_path, "text");
  Fd reader = MUST(sys::open(read_path.c_str(), O_RDONLY));
  for (int signal : {SIGUSR1, SIGIO}) {
    sigset_t one;
    ::sigemptyset(&one);
    ::sigaddset(&one, signal);
    ::sigprocmask(SIG_BLOCK, &one, nullptr);
  }
  ASSERT_EQ(::fcntl(reader.get(), F_SETSIG, SIGUSR1), 0);
  ASSERT_EQ(::fcntl(reader.get(), F_SETLEASE, F_RDLCK), 0);
  ASSERT_EQ(::fcntl(writer.get(), F_SETLEASE, F_WRLCK), 0);
  checkpoint_restore();
  EXPECT_EQ(::fcntl(reader.get(), F_GETLEASE), F_RDLCK);
  EXPECT_EQ(::fcntl(writer.get(), F_GETLEASE), F_WRLCK);
  EXPECT_EQ(::fcntl(reader.get(), F_GETOWN), ::getpid());
  EXPECT_EQ(open_without_waiting(read_path, O_RDONLY), 0);
  EXPECT_EQ(open_without_waiting(read_path, O_WRONLY), EWOULDBLOCK);
  sigset_t told;
  ::sigemptyset(&told);
  ::sigaddset(&told, SIGUSR1);
  siginfo_t info{};
  ASSERT_EQ(::sigwaitinfo(&told, &info), SIGUSR1);
  EXPECT_EQ(info.si_fd, reader.get());
  EXPECT_EQ(::fcntl(reader.get(), F_GETLEASE), F_UNLCK);
  checkpoint_restore();
  EXPECT_EQ(::fcntl(reader.get(), F_GETLEASE), F_UNLCK) << "still breaking";
  const timespec now{};
  EXPECT_EQ(::sigtimedwait(&told, &info, &now), -1) << "told once";
  EXPECT_EQ(open_without_waiting(read_path, O_WRONLY), EWOULDBLOCK);
  EXPECT_EQ(::fcntl(reader.get(), F_SETLEASE, F_UNLCK), 0);
  EXPECT_EQ(open_without_waiting(read_path, O_WRONLY), 0);
}

CR_TEST(file_lock, locks_of_every_kind_are_held_again) {
  test::Scratch scratch;
  Fd flocked = MUST(sys::open(scratch.file("flock").c_str(), O_RDWR | O_CREAT, 0600));
  Fd posix = MUST(sys::open(scratch.file("posix").c_str(), O_RDWR | O_CREAT, 0600));
  ASSERT_EQ(::flock(flocked.get(), LOCK_EX), 0);
  struct flock range {};
  range.l_type = F_WRLCK;
  range.l_start = 10;
  range.l_len = 5;
  ASSERT_EQ(::fcntl(posix.get(), F_SETLK, &range), 0);
  checkpoint_restore();
  pid_t child = test::fork_child([&] {
    Fd rival = MUST(sys::open(scratch.file("flock").c_str(), O_RDWR));
    EXPECT_NE(::flock(rival.get(), LOCK_SH | LOCK_NB), 0);
    struct flock ask {};
    ask.l_type = F_RDLCK;
    Fd other = MUST(sys::open(scratch.file("posix").c_str(), O_RDWR));
    ASSERT_EQ(::fcntl(other.get(), F_GETLK, &ask), 0);
    EXPECT_EQ(ask.l_type, F_WRLCK);
    EXPECT_EQ(ask.l_start, 10);
    EXPECT_EQ(ask.l_len, 5);
    EXPECT_EQ(ask.l_pid, ::getppid());
  });
  int status = 0;
  EXPECT_TRUE(test::wait_exit(child, &status, std::chrono::seconds(10)));
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace ncr
