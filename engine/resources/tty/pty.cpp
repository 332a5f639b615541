// See pty.h (child). The kernel gives a new pair the lowest free number, so pairs are opened, and
// dropped again, until the wanted one comes.
#include "engine/resources/tty/pty.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <memory>
#include <vector>

#include "engine/base/call_code.h"
#include "engine/base/procfs.h"
#include "engine/resources/aside.h"
#include "engine/resources/status_flags.h"

namespace ncr::tty {
namespace {

constexpr unsigned kMostTries = 4096;  // the kernel's default of /proc/sys/kernel/pty/max

Result<unsigned> number_of(const Fd& master) {
  unsigned number = 0;
  TRY(SYSCALL(::ioctl(master.get(), TIOCGPTN, &number), "ioctl TIOCGPTN"));
  return number;
}

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

template <class F>
void each_entry(const std::string& path, F use) {
  std::unique_ptr<DIR, CloseDir> dir(::opendir(path.c_str()));
  while (const dirent* entry = dir != nullptr ? ::readdir(dir.get()) : nullptr)
    if (entry->d_name[0] >= '0' && entry->d_name[0] <= '9') use(std::string(entry->d_name));
}

// "4711 (tmux)": whoever has this master open, by what fdinfo says.
std::string holder_of(unsigned number) {
  std::string holder = "another process";
  std::string wanted = strf("tty-index:\t%u\n", number);
  each_entry("/proc", [&](const std::string& pid) {
    std::string fdinfo = "/proc/" + pid + "/fdinfo";
    each_entry(fdinfo, [&](const std::string& fd) {
      Result<std::string> info = sys::read_file((fdinfo + "/" + fd).c_str());
      if (!info.ok() || info.value().find(wanted) == std::string::npos) return;
      Result<std::string> comm = sys::read_file(("/proc/" + pid + "/comm").c_str());
      holder = strf("process %s (%s)", pid.c_str(),
                    comm.ok() ? comm.value().substr(0, comm.value().find('\n')).c_str() : "?");
    });
  });
  return holder;
}

Result<Fd> find_number(const char* path, unsigned wanted, int flags) {
  std::vector<Fd> others;
  for (unsigned tries = 0; tries < kMostTries; tries++) {
    Fd master = TRY(sys::open(path, flags));
    unsigned number = TRY(number_of(master));
    if (number == wanted) return master;
    if (number > wanted)
      return Error(ErrorCode::kSystem,
                   strf("the terminal /dev/pts/%u of the image is taken by %s; close it first",
                        wanted, holder_of(wanted).c_str()));
    others.push_back(std::move(master));
  }
  return Error(
      ErrorCode::kSystem,
      strf("the terminal /dev/pts/%u of the image cannot be had: more than %u are free before it",
           wanted, kMostTries));
}

}  // namespace

Result<Fd> make_master(const schema::OpenFile& record) {
  const char* path = record.path() == "/dev/pts/ptmx" ? "/dev/pts/ptmx" : "/dev/ptmx";
  int flags = O_RDWR | O_NOCTTY;
  Fd master = TRY(find_number(path, record.tty().number(), flags));
  int unlocked = 0;
  TRY(SYSCALL(::ioctl(master.get(), TIOCSPTLCK, &unlocked), "ioctl TIOCSPTLCK"));
  TRY(set_status_flags(master, record.flags()));
  return master;
}

Result<Fd> open_slave(int master, const schema::OpenFile& record) {
  int flags = static_cast<int>(record.flags() & (O_ACCMODE | O_NONBLOCK)) | O_NOCTTY | O_CLOEXEC;
  Fd slave(TRY(SYSCALL(::ioctl(master, TIOCGPTPEER, flags), "ioctl TIOCGPTPEER")));
  TRY(set_status_flags(slave, record.flags()));
  return slave;
}

// The kernel looks up the controlling terminal of whoever opens /dev/tty, so a process aside leads
// a session for a moment. Of a pseudo-terminal nothing is lost when its session leader goes.
Result<Fd> open_current(int master, const schema::OpenFile& record) {
  Fd slave = TRY(open_slave(master, record));
  Fd place(TRY(SYSCALL(::fcntl(slave.get(), F_DUPFD_CLOEXEC, 0), "fcntl F_DUPFD_CLOEXEC")));
  int flags = static_cast<int>(record.flags() & (O_ACCMODE | O_NONBLOCK)) | O_CLOEXEC;
  int failed = TRY(run_aside({.outlive_us = true}, [&] {
    int code = sys::code_of(::setsid());
    if (code == 0) code = sys::code_of(::ioctl(slave.get(), TIOCSCTTY, 1));
    if (code != 0) return code;
    int fd = ::open("/dev/tty", flags);
    if (fd < 0) return sys::code_of(fd);
    ::dup3(fd, place.get(), O_CLOEXEC);
    ::close(fd);
    return 0;
  }));
  if (failed != 0) return Error::system(failed, "open /dev/tty");
  return place;
}

Result<Fd> make_hung_up(const schema::OpenFile& record) {
  Fd master = TRY(sys::open("/dev/ptmx", O_RDWR | O_NOCTTY));
  int unlocked = 0;
  TRY(SYSCALL(::ioctl(master.get(), TIOCSPTLCK, &unlocked), "ioctl TIOCSPTLCK"));
  return open_slave(master.get(), record);
}

Result<Fd> reopen_terminal(int fd, int flags) {
  Result<Fd> own = procfs::open(strf("self/fd/%d", fd), flags);
  if (own.ok()) return own;
  // Of another mount namespace or user: shared with the caller then.
  return Fd(TRY(SYSCALL(::fcntl(fd, F_DUPFD_CLOEXEC, 0), "fcntl F_DUPFD_CLOEXEC")));
}

}  // namespace ncr::tty
