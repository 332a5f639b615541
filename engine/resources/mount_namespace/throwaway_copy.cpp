// Nobody else is in the copy, and it is private: nothing of what is done there spreads. One that
// belongs to another user namespace than the original would have its mounts locked together
// (mount_namespaces(7)), so it must be made in that one, which takes a process of its own: a thread
// cannot enter (setns(2)). Engine, on a thread of its own.
#include "engine/resources/mount_namespace/throwaway_copy.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>

#include "engine/base/quiet_thread.h"
#include "engine/base/undo.h"
#include "engine/resources/mount_namespace/mount_calls.h"

namespace ncr::mount_namespace {
namespace {

// The user namespace that `space` belongs to; none if that is ours.
Result<Fd> other_owner(const Fd& space, const Fd& proc) {
  Fd owner(TRY(SYSCALL(::ioctl(space.get(), NS_GET_USERNS), "NS_GET_USERNS")));
  struct stat theirs {
  }, ours{};
  TRY(SYSCALL(::fstat(owner.get(), &theirs), "stat of a user namespace"));
  TRY(SYSCALL(::fstatat(proc.get(), "../self/ns/user", &ours, 0), "stat /proc/self/ns/user"));
  return theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino ? Fd() : std::move(owner);
}

struct Job {
  const Fd& owner;
  const std::function<void()>& work;
  Result<> outcome;
};

int enter_and_work(void* argument) {
  Job& job = *static_cast<Job*>(argument);
  Result<int> entered = SYSCALL(::setns(job.owner.get(), CLONE_NEWUSER), "enter a user namespace");
  if (entered.ok())
    job.work();
  else
    job.outcome = entered.take_error();
  return 0;
}

// In a process that shares our memory and descriptors. Entering another user namespace makes the
// memory undumpable (kernel: commit_creds).
Result<> in_user_namespace(const Fd& owner, const std::function<void()>& work) {
  constexpr size_t kStack = 256 << 10;
  std::unique_ptr<char[]> stack(new char[kStack]);
  Job job{owner, work, {}};
  const int dumpable = TRY(SYSCALL(::prctl(PR_GET_DUMPABLE), "PR_GET_DUMPABLE"));
  Undo put_back([&] { (void)::prctl(PR_SET_DUMPABLE, dumpable); });
  if (dumpable != 1) put_back.cancel();  // cannot be set to anything else
  const pid_t pid = TRY(SYSCALL(
      ::clone(enter_and_work, stack.get() + kStack, CLONE_VM | CLONE_FILES | CLONE_VFORK, &job),
      "clone"));
  TRY(SYSCALL(::waitpid(pid, nullptr, __WALL), "wait for pid %d", pid));
  return std::move(job.outcome);
}

Result<> copy_and_work(const std::function<Result<>()>& work) {
  TRY(SYSCALL(::unshare(CLONE_NEWNS), "unshare CLONE_NEWNS"));
  TRY(set_propagation_of_all(MS_PRIVATE));
  return work();
}

}  // namespace

Result<> in_throwaway_copy(const Fd& space, const Fd& proc, const std::function<Result<>()>& work) {
  const Fd owner = TRY(other_owner(space, proc));
  Result<> done = Error(ErrorCode::kSystem, "no thread could be started");
  auto work_in_copy = [&] { done = copy_and_work(work); };
  {
    QuietThread thread([&] {
      if (!owner.valid()) return work_in_copy();
      Result<> entered = in_user_namespace(owner, work_in_copy);
      if (!entered.ok()) done = entered.take_error();
    });
  }
  return done;
}

}  // namespace ncr::mount_namespace
