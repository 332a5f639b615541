#include "engine/resources/file_lock/file_lock.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <cstring>

#include "engine/base/sys.h"
#include "engine/resources/file_lock/description_locks.h"
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
