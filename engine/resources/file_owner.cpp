// The kernel remembers who set the owner of a file, and asks whether that one may send it signals
// (sigio_perm(), fs/fcntl.c). So the owner is set with the ids of the image. A change of ids makes
// a process undumpable and forget the signal of its parent's death (commit_creds(), kernel/cred.c):
// both are given back.
#include "engine/resources/file_owner.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/base/sys.h"

namespace ncr {
namespace {

Result<long> change_ids(uid_t real, uid_t effective, uid_t saved) {
  return SYSCALL(::syscall(SYS_setresuid, real, effective, saved), "setresuid %u %u", real,
                 effective);
}

Result<> give_back(uid_t real, uid_t effective, uid_t saved, int dumpable, int signal) {
  TRY(change_ids(real, effective, saved));
  TRY(SYSCALL(::prctl(PR_SET_DUMPABLE, dumpable), "PR_SET_DUMPABLE"));
  TRY(SYSCALL(::prctl(PR_SET_PDEATHSIG, signal), "PR_SET_PDEATHSIG"));
  return {};
}

Result<> set_as(const schema::FileOwner& owner, int fd, const f_owner_ex& target) {
  uid_t real = 0, effective = 0, saved = 0;
  int signal = 0;
  const pid_t parent = ::getppid();
  const int dumpable = TRY(SYSCALL(::prctl(PR_GET_DUMPABLE), "PR_GET_DUMPABLE"));
  TRY(SYSCALL(::prctl(PR_GET_PDEATHSIG, &signal), "PR_GET_PDEATHSIG"));
  TRY(SYSCALL(::getresuid(&real, &effective, &saved), "getresuid"));
  // An ordinary user cannot, and an image of another user namespace may have ids that are none
  // here.
  const bool other = owner.uid() != real || owner.euid() != effective;
  const bool changed = other && change_ids(owner.uid(), owner.euid(), effective).ok();
  Result<int> set = SYSCALL(::fcntl(fd, F_SETOWN_EX, &target), "fcntl F_SETOWN_EX %d", target.pid);
  if (changed) TRY(give_back(real, effective, saved, dumpable, signal));
  if (changed && ::getppid() != parent) return Error::gone("the parent died");
  if (!set.ok() && set.error().os_error() != ESRCH) return set.take_error();
  return {};
}

}  // namespace

Result<> set_owner(int fd, const schema::OpenFile& file, pid_t number) {
  const schema::FileOwner& owner = file.owner();
  if (owner.signal() != 0)
    TRY(SYSCALL(::fcntl(fd, F_SETSIG, owner.signal()), "fcntl F_SETSIG %d", owner.signal()));
  if (number != 0)
    TRY(set_as(owner, fd, {static_cast<decltype(f_owner_ex::type)>(owner.type()), number}));
  if ((file.flags() & O_ASYNC) == 0) return {};
  int flags = TRY(SYSCALL(::fcntl(fd, F_GETFL), "fcntl F_GETFL"));
  TRY(SYSCALL(::fcntl(fd, F_SETFL, flags | O_ASYNC), "fcntl F_SETFL"));
  return {};
}

}  // namespace ncr
