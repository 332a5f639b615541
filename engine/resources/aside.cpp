// See aside.h. (engine and child) A clone with CLONE_FILES | CLONE_VFORK: we stand still until it
// is done, descriptors it makes are ours, memory is a copy.
#include "engine/resources/aside.h"

#include <linux/capability.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

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

}  // namespace

Result<int> run_aside(const Aside& where, const std::function<int()>& calls) {
  if (same_as_us(where)) return calls();
  pid_t wanted = where.as_who && where.who.pid != ::getpid() ? where.who.pid : 0;
  long pid = clone_here(wanted);
  if (pid < 0 && wanted != 0) pid = clone_here(0);
  if (pid == 0) {
    int failed = take_place(where);
    ::_exit(failed != 0 ? failed : calls());
  }
  TRY(SYSCALL(pid, "clone3"));
  int status = 0;
  TRY(SYSCALL(::waitpid(static_cast<pid_t>(pid), &status, __WALL), "wait for pid %ld", pid));
  if (!WIFEXITED(status)) return Error(ErrorCode::kSystem, "a process of ours was killed");
  return WEXITSTATUS(status);
}

}  // namespace ncr
