// Advisory locks hang on the inode. A flock() or OFD lock belongs to an open file description: its
// maker takes it again, and it goes wherever the description goes. A POSIX lock belongs to the
// process (its descriptor table): a late step takes it. The file table reads them all from fdinfo.
// Waiters need nothing: their system call begins again. A lock that somebody else took meanwhile
// fails the restore. plan runs in the coordinator, take_description_locks in the child.
#include "engine/resources/file_lock/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>

#include "engine/resources/file_lock/description_locks.h"
#include "engine/resources/room.h"

namespace ncr::file_lock {
namespace {

Result<> plan(const schema::Task& task, StepList& steps) {
  for (const schema::Descriptor& descriptor : task.descriptors())
    for (const schema::FileLock& lock : descriptor.locks())
      steps.add(wire::Stage::kLate,
                TakeLock{descriptor.number(), lock.write() ? 1 : 0, lock.start(), lock.length()});
  return {};
}

Result<int> take(const Fd& fd, const schema::FileLock& lock) {
  if (lock.kind() == schema::FileLock::FLOCK)
    return SYSCALL(::flock(fd.get(), (lock.write() ? LOCK_EX : LOCK_SH) | LOCK_NB), "flock");
  struct flock range {};
  range.l_type = static_cast<short>(lock.write() ? F_WRLCK : F_RDLCK);
  range.l_whence = SEEK_SET;
  range.l_start = static_cast<off_t>(lock.start());
  range.l_len = static_cast<off_t>(lock.length());
  return SYSCALL(::fcntl(fd.get(), F_OFD_SETLK, &range), "F_OFD_SETLK");
}

}  // namespace

Result<> take_description_locks(const Fd& fd, const schema::OpenFile& record) {
  for (const schema::FileLock& lock : record.locks())
    TRY_WHILE(take(fd, lock), "its lock (does another process hold it now?)");
  return {};
}

extern const TaskRoom kRoom = {.name = "file_lock", .plan = plan};

}  // namespace ncr::file_lock
