// See aside.h. (engine and child) A clone with CLONE_FILES | CLONE_VFORK: we stand still until it
// is done, and descriptors it makes are ours.
#include "engine/resources/aside.h"

#include <linux/capability.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>

#include "engine/base/call_code.h"

namespace ncr {
namespace {

long clone_here(pid_t pid) {
  clone_args args{};
  args.flags =
      CLONE_FILES | CLONE_VFORK;  // no exit signal: it would stay pending in a task being born
  pid_t set_tid[1] = {pid};
  if (pid != 0) {
    args.set_tid = reinterpret_cast<uint64_t>(set_tid);
    args.set_tid_size = 1;
  }
  return ::syscall(SYS_clone3, &args, sizeof args);
}

// Another effective id drops the effective capabilities; the permitted ones stay, as the real id
// does not change.
int raise_capabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  int failed = sys::code_of(::syscall(SYS_capget, &header, data));
  if (failed != 0) return failed;
  data[0].effective = data[0].permitted;
  data[1].effective = data[1].permitted;
  return sys::code_of(::syscall(SYS_capset, &header, data));
}

int take_ids(const ucred& who) {
  // Raw calls: libc's would look for other threads.
  int failed = 0;
  if (who.gid != ::getegid()) failed = sys::code_of(::syscall(SYS_setresgid, -1, who.gid, -1));
  if (failed != 0 || who.uid == ::geteuid()) return failed;
  failed = sys::code_of(::syscall(SYS_setresuid, -1, who.uid, -1));
  return failed != 0 ? failed : raise_capabilities();
}

int take_place(const Aside& where) {
  int failed = 0;
  if (where.root >= 0) failed = sys::code_of(::fchdir(where.root));
  if (where.root >= 0 && failed == 0) failed = sys::code_of(::chroot("."));
  if (where.directory != nullptr && failed == 0) failed = sys::code_of(::chdir(where.directory));
  if (failed != 0 || !where.as_who) return failed;
  return take_ids(where.who);
}

bool same_as_us(const Aside& where) {
  if (where.root >= 0 || where.directory != nullptr || where.outlive_us) return false;
  if (!where.as_who) return true;
  return (where.who.pid == 0 || where.who.pid == ::getpid()) && where.who.uid == ::geteuid() &&
         where.who.gid == ::getegid();
}

struct Job {
  const Aside& where;
  const std::function<int()>& calls;
};

int do_job(void* argument) {
  const Job& job = *static_cast<const Job*>(argument);
  int failed = take_place(job.where);
  return failed != 0 ? failed : job.calls();
}

// In our memory, which spares copying the page tables. Not for other ids: taking those makes the
// memory undumpable.
Result<int> start_in_our_memory(Job& job) {
  constexpr size_t kStack = 128 << 10;
  std::unique_ptr<char[]> stack(new char[kStack]);
  return SYSCALL(::clone(do_job, stack.get() + kStack, CLONE_VM | CLONE_FILES | CLONE_VFORK, &job),
                 "clone");
}

// With a number of its own if that can be had.
Result<long> start_as(Job& job) {
  pid_t wanted = job.where.who.pid != ::getpid() ? job.where.who.pid : 0;
  long pid = clone_here(wanted);
  if (pid < 0 && wanted != 0) pid = clone_here(0);
  if (pid == 0) ::_exit(do_job(&job));
  return SYSCALL(pid, "clone3");
}

}  // namespace

Result<int> run_aside(const Aside& where, const std::function<int()>& calls) {
  if (same_as_us(where)) return calls();
  Job job{where, calls};
  // We stand still until it is done.
  long pid = where.as_who ? TRY(start_as(job)) : long{TRY(start_in_our_memory(job))};
  int status = 0;
  TRY(SYSCALL(::waitpid(static_cast<pid_t>(pid), &status, __WALL), "wait for pid %ld", pid));
  if (!WIFEXITED(status)) return Error(ErrorCode::kSystem, "a process of ours was killed");
  return WEXITSTATUS(status);
}

}  // namespace ncr
