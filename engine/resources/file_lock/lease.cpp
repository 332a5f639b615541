// A lease hangs on the inode like a lock and belongs to an open file description. Somebody who
// opens the file in its way waits while the holder gets a signal and some time (lease-break-time):
// then it is "breaking", and fdinfo shows what it is to become. Of one that is to go altogether
// nothing shows what it was: a read lease if the description can only read, which behaves the same
// from there on. Such a lease is taken and then broken again, by an open that does not wait; its
// time begins anew. Taking one makes the taker its owner, and remembers the descriptor's number for
// the signal. The file must not be open elsewhere against it, so the lease comes when every file of
// the tree is open. lease_of runs in the engine, take_lease in the child.
#include "engine/resources/file_lock/lease.h"

#include <fcntl.h>
#include <sys/fsuid.h>
#include <sys/stat.h>

#include "engine/base/procfs.h"
#include "engine/base/undo.h"

namespace ncr::file_lock {
namespace {

// Without CAP_LEASE outside of all user namespaces only the file's owner may take one.
Result<int> set_lease(int number, int type) {
  Result<int> set = SYSCALL(::fcntl(number, F_SETLEASE, type), "F_SETLEASE %d", type);
  if (set.ok() || set.error().os_error() != EACCES) return set;
  struct stat file {};
  TRY(SYSCALL(::fstat(number, &file), "fstat"));
  const auto before = static_cast<uid_t>(::setfsuid(file.st_uid));
  Undo back([before] { ::setfsuid(before); });
  return SYSCALL(::fcntl(number, F_SETLEASE, type), "F_SETLEASE %d as the owner of the file", type);
}

// Nobody is told this time: its owner has been.
Result<> break_lease(int number, const schema::Lease& lease) {
  TRY(SYSCALL(::fcntl(number, F_SETOWN, 0), "F_SETOWN"));
  const int flags = lease.target() == F_RDLCK ? O_RDONLY : O_WRONLY;
  Result<Fd> opened = procfs::open(strf("self/fd/%d", number), flags | O_NONBLOCK);
  if (!opened.ok() && opened.error().os_error() != EWOULDBLOCK) return opened.take_error();
  return {};
}

}  // namespace

schema::Lease lease_of(const LockInfo& lock, uint32_t flags) {
  const int shown = lock.unlock ? F_UNLCK : lock.write ? F_WRLCK : F_RDLCK;
  schema::Lease lease;
  lease.set_breaking(lock.breaking);
  lease.set_target(shown);
  if (!lock.breaking)
    lease.set_type(shown);
  else if (shown == F_UNLCK && (flags & O_ACCMODE) == O_RDONLY)
    lease.set_type(F_RDLCK);
  else
    lease.set_type(F_WRLCK);
  return lease;
}

Result<> take_lease(int number, const schema::Lease& lease) {
  Result<int> set = set_lease(number, lease.type());
  if (!set.ok() && set.error().os_error() == EAGAIN)
    return set.take_error().while_doing("its lease (does another process have the file open now?)");
  TRY(std::move(set));
  if (lease.breaking()) TRY(break_lease(number, lease));
  return {};
}

}  // namespace ncr::file_lock
