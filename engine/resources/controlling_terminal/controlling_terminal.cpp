// The terminal of a session, and the process group in its foreground (signal_struct.tty,
// tty_struct.ctrl). /proc/PID/stat tells both (engine). The session's leader takes the terminal
// before it forks the members, which inherit it (child, take()); the foreground group is set when
// every group exists, by the leader, or by the root if the session is led from outside (child,
// restore()). A session whose leader is dead has no terminal.
#include "engine/resources/controlling_terminal/controlling_terminal.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <csignal>

#include "engine/base/undo.h"
#include "engine/resources/room.h"
#include "engine/resources/tty/tty.h"

namespace ncr::controlling_terminal {
namespace {

Result<> look(const Task& task, schema::Task* out) {
  const proc::Stat* stat = TRY(task.stat());
  out->set_terminal(static_cast<uint32_t>(stat->tty));
  if (stat->tty != 0 && stat->tty_pgid > 0) out->set_foreground_group(stat->tty_pgid);
  return {};
}

// A slave or, for want of one, the master, that an ancestor or this task has opened. 0: the
// terminal is outside.
const schema::OpenFile* find_terminal(const FileRestorer& files, uint32_t device) {
  const schema::OpenFile* found = nullptr;
  for (const auto& [id, file] : files.image().files) {
    if (!tty::is_terminal(file, device) || file.tty().kind() == schema::Tty::CONTROLLING) continue;
    if (found == nullptr || file.tty().kind() == schema::Tty::SLAVE) found = &file;
  }
  return found;
}

bool has_master(const FileRestorer& files, uint32_t device) {
  for (const auto& [id, file] : files.image().files)
    if (tty::is_terminal(file, device) && file.tty().kind() == schema::Tty::MASTER) return true;
  return false;
}

Result<> take_own(const schema::OpenFile& file, int fd) {
  Fd slave;
  if (file.tty().kind() == schema::Tty::MASTER) {
    slave = Fd(
        TRY(SYSCALL(::ioctl(fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC), "ioctl TIOCGPTPEER")));
    fd = slave.get();
  }
  TRY(SYSCALL(::ioctl(fd, TIOCSCTTY, 0), "ioctl TIOCSCTTY (%s)", tty::name_of(file.tty()).c_str()));
  return {};
}

bool is_root(const schema::Task& task) { return task.ppid() == 0; }

Result<> restore(const ChildTask& child) {
  const schema::Task& task = child.record;
  bool speaks_for_session = task.sid() == task.pid() || is_root(task);
  if (task.foreground_group() == 0 || !speaks_for_session) return {};
  Result<Fd> terminal = sys::open("/dev/tty", O_RDWR | O_NOCTTY);
  if (!terminal.ok()) return {};  // the terminal was outside and none took its place
  sigset_t stop, before;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTTOU);
  TRY(SYSCALL(::sigprocmask(SIG_BLOCK, &stop, &before), "sigprocmask"));
  Undo unblock([&] { ::sigprocmask(SIG_SETMASK, &before, nullptr); });
  pid_t group = task.foreground_group();
  Result<int> set =
      SYSCALL(::ioctl(terminal.value().get(), TIOCSPGRP, &group), "ioctl TIOCSPGRP %d", group);
  // A group that is not of this tree, or has nobody left in it.
  if (set.ok() || set.error().os_error() == ESRCH || set.error().os_error() == EPERM) return {};
  return set.take_error();
}

}  // namespace

Result<> take(const FileRestorer& files, const schema::Task& task) {
  if (task.terminal() == 0 || task.sid() != task.pid()) return {};
  const schema::OpenFile* file = find_terminal(files, task.terminal());
  if (file == nullptr) return {};
  int fd = TRY_WHILE(files.opened(file->id()), "controlling terminal");
  if (has_master(files, task.terminal())) return take_own(*file, fd);
  // Ours stands in for it; if it controls a session already, that is the caller's.
  (void)SYSCALL(::ioctl(fd, TIOCSCTTY, 0), "ioctl TIOCSCTTY");
  return {};
}

extern const TaskRoom kRoom = {.name = "controlling_terminal", .look = look, .restore = restore};

}  // namespace ncr::controlling_terminal
