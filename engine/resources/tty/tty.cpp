// Terminals (struct tty_struct): both ends of pseudo-terminals, /dev/tty, and whatever terminal a
// shell gave to its job. The kernel keeps modes, window size, lock and packet mode, all of which
// ioctl(2) tells through our duplicate of the descriptor (engine). What is under way
// in its queues: pty_queue.cpp. A pair is made anew under its old
// number, as programs hold its name (child). A terminal whose master is outside the tree is the
// business of --shell-job: the caller's own terminal takes its place. A console or virtual terminal
// is the machine's, and so are its modes: its node is opened again. Controlling terminals:
// controlling_terminal.cpp.
#include "engine/resources/tty/tty.h"

#include <fcntl.h>
#include <linux/tty.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <set>

#include "engine/resources/mount_namespace/terminal_mounts.h"
#include "engine/resources/room.h"
#include "engine/resources/tty/pty.h"
#include "engine/resources/tty/pty_queue.h"
#include "engine/resources/tty/termios.h"

namespace ncr::tty {
namespace {

constexpr unsigned kFirstPty = 136;  // Unix98 slaves: majors 136 to 143
constexpr unsigned kLastPty = 143;
constexpr unsigned kAlternate = 5;  // /dev/tty, /dev/console, /dev/ptmx
constexpr uint64_t kGroup = uint64_t{0x74} << 56;

bool is_master(const struct stat& stat) {
  return major(stat.st_rdev) == kAlternate && minor(stat.st_rdev) == 2;
}
bool is_current(const struct stat& stat) {
  return major(stat.st_rdev) == kAlternate && minor(stat.st_rdev) == 0;
}
bool is_pty(unsigned number) { return number >= kFirstPty && number <= kLastPty; }
bool is_pty(const schema::Tty& tty) { return is_pty(tty.driver()); }

// /dev/console, /dev/tty0 and the virtual terminals; serial lines begin at 4:64.
bool is_machines(dev_t node) {
  return (major(node) == kAlternate && minor(node) == 1) || (major(node) == 4 && minor(node) < 64);
}

uint64_t group_of(const schema::Tty& tty) {
  return kGroup | (uint64_t{tty.driver()} << 32) | tty.number();
}

bool recognises(const FdProbe& probe) {
  if (!S_ISCHR(probe.stat.st_mode) || (probe.flags & O_PATH) != 0) return false;
  unsigned number = major(probe.stat.st_rdev);
  return number == 4 || number == kAlternate || is_pty(number) || ::isatty(probe.local.get()) == 1;
}

Result<> preflight(const FdProbe& probe, Blockers& blockers) {
  int discipline = N_TTY;
  if (::ioctl(probe.local.get(), TIOCGETD, &discipline) == 0 && discipline != N_TTY)
    blockers.add(*probe.task, probe.where(), strf("a terminal with line discipline %d", discipline),
                 "stop the program that runs a protocol over it");
  return {};
}

short events_of(const Fd& fd) {
  pollfd state{fd.get(), 0, 0};
  return ::poll(&state, 1, 0) > 0 ? state.revents : short{0};
}

void set_node(const struct stat& stat, schema::Tty* out) {
  out->mutable_node()->set_mode(stat.st_mode & 07777);
  out->mutable_node()->set_uid(stat.st_uid);
  out->mutable_node()->set_gid(stat.st_gid);
}

Result<> dump_master(const FdProbe& probe, schema::Tty* out) {
  unsigned index = 0;
  int locked = 0;
  int packet = 0;
  TRY(SYSCALL(::ioctl(probe.local.get(), TIOCGPTN, &index), "ioctl TIOCGPTN"));
  TRY(SYSCALL(::ioctl(probe.local.get(), TIOCGPTLCK, &locked), "ioctl TIOCGPTLCK"));
  TRY(SYSCALL(::ioctl(probe.local.get(), TIOCGPKT, &packet), "ioctl TIOCGPKT"));
  out->set_kind(schema::Tty::MASTER);
  out->set_driver(kFirstPty);
  out->set_number(index);
  out->set_locked(locked != 0);
  out->set_packet_mode(packet != 0);
  out->set_slave_closed((events_of(probe.local) & POLLHUP) != 0);
  TRY(read_queues(probe.local, packet != 0, out));
  const MountView own;
  Result<struct stat> node = (probe.view != nullptr ? *probe.view : own).stat(name_of(*out));
  if (!node.ok() || minor(node.value().st_rdev) != index) return {};
  set_node(node.value(), out);
  return {};
}

// A slave whose master is closed answers EIO to everything.
Result<> dump_slave(const FdProbe& probe, schema::Tty* out) {
  out->set_kind(is_current(probe.stat) ? schema::Tty::CONTROLLING : schema::Tty::SLAVE);
  out->set_driver(major(probe.stat.st_rdev));
  out->set_number(minor(probe.stat.st_rdev));
  unsigned device = 0;
  Result<int> got = SYSCALL(::ioctl(probe.local.get(), TIOCGDEV, &device), "ioctl TIOCGDEV");
  out->set_hung_up(!got.ok() && got.error().os_error() == EIO);
  if (out->hung_up()) return {};
  TRY(std::move(got));
  out->set_driver((device >> 8) & 0xfff);
  out->set_number((device & 0xff) | ((device >> 12) & 0xfff00));
  if (out->kind() == schema::Tty::SLAVE && is_pty(*out)) set_node(probe.stat, out);
  if (is_machines(probe.stat.st_rdev) && probe.stat.st_nlink != 0)
    out->set_machine_node(probe.link);
  return {};
}

Result<> dump(FileTable&, const FdProbe& probe, schema::OpenFile* record) {
  schema::Tty* out = record->mutable_tty();
  out->set_node_device(probe.stat.st_dev);
  out->set_node_number(probe.stat.st_rdev);
  TRY(is_master(probe.stat) ? dump_master(probe, out) : dump_slave(probe, out));
  record->set_group_id(group_of(*out));
  if (out->hung_up()) return {};
  int value = 0;
  if (::ioctl(probe.local.get(), TIOCGEXCL, &value) == 0) out->set_exclusive(value != 0);
  return read_modes(probe.local, out);
}

// What external and inherited descriptors call it: "8800:1", st_rdev and st_dev of its node.
std::string key_of(const schema::Tty& tty) {
  return strf("%llx:%llx", static_cast<unsigned long long>(tty.node_number()),
              static_cast<unsigned long long>(tty.node_device()));
}

bool is_external(const DumpRequest& request, const schema::Tty& tty) {
  return std::any_of(request.externals.begin(), request.externals.end(),
                     [key = key_of(tty)](const External& external) {
                       return external.kind == "tty" && external.object == key;
                     });
}

Result<> check(const std::vector<SeenFile>& all, const DumpRequest& request, Blockers& blockers) {
  std::set<uint32_t> numbers;  // of pairs whose master is in the tree
  for (const SeenFile& file : all)
    if (file.record->has_tty() && file.record->tty().kind() == schema::Tty::MASTER)
      numbers.insert(file.record->tty().number());
  std::set<uint32_t> checked;
  for (const SeenFile& file : all) {
    if (!file.record->has_tty() || !checked.insert(file.record->id()).second) continue;
    const schema::Tty& tty = file.record->tty();
    bool inside = is_pty(tty) && numbers.contains(tty.number());
    if (inside || tty.hung_up() || tty.kind() == schema::Tty::MASTER) continue;
    if (!tty.machine_node().empty()) continue;
    if ((is_pty(tty) && request.orphan_pts_master) || is_external(request, tty)) continue;
    if (request.shell_job == ShellJob::kRefuse && file.holder != nullptr)
      blockers.add(*file.holder, strf("fd %d: terminal %s", raw(file.number), name_of(tty).c_str()),
                   "its other end is outside the tree (a terminal emulator, ssh, script)",
                   strf("--shell-job: at restore the caller's terminal takes its place; or "
                        "--external tty[%s]: it is given at restore",
                        key_of(tty).c_str()));
  }
  return {};
}

// ---- Restore (child)
// ----------------------------------------------------------------------------------------------------

const schema::OpenFile* find_master(const FileRestorer& files, const schema::Tty& like) {
  for (const schema::OpenFile* file : files.members(group_of(like)))
    if (file->has_tty() && file->tty().kind() == schema::Tty::MASTER) return file;
  return nullptr;
}

std::string master_key(const schema::Tty& tty) { return strf("master %u", tty.number()); }

// A terminal may be mounted somewhere else as well (/dev/console).
Result<Fd> make_mounted_master(const FileRestorer& files, const schema::OpenFile& record) {
  Fd master = TRY(make_master(record));
  TRY(mount_namespace::mount_terminal(files.image(), record.mount_namespace(),
                                      record.tty().number()));
  return master;
}

// The master is made once, by whichever end comes first. The number stays the stash's or
// FileRestorer's.
Result<int> ensure_master(FileRestorer& files, const schema::OpenFile& record) {
  if (Result<int> opened = files.opened(record.id()); opened.ok()) return opened;
  Fd master = files.take(kGroup, master_key(record.tty()));
  if (!master.valid()) master = TRY(make_mounted_master(files, record));
  int number = master.get();
  files.stash(kGroup, master_key(record.tty()), std::move(master));
  return number;
}

// The master of a terminal whose other end was outside: made with its first slave, and the caller's
// from then on.
Result<int> ensure_orphan_master(FileRestorer& files, const schema::OpenFile& slave) {
  Fd master = files.take(kGroup, master_key(slave.tty()));
  if (!master.valid()) {
    schema::OpenFile record;
    record.set_flags(O_RDWR);
    record.set_mount_namespace(slave.mount_namespace());
    record.mutable_tty()->set_number(slave.tty().number());
    master = TRY(make_mounted_master(files, record));
    Fd copy(TRY(SYSCALL(::fcntl(master.get(), F_DUPFD_CLOEXEC, 0), "F_DUPFD_CLOEXEC")));
    TRY(files.keep_for_caller(std::move(copy)));
  }
  int number = master.get();
  files.stash(kGroup, master_key(slave.tty()), std::move(master));
  return number;
}

const InheritedFd* inherited(const FileRestorer& files, const schema::Tty& tty) {
  const std::string key = "tty[" + key_of(tty) + "]";
  for (const InheritedFd& given : files.request().inherited)
    if (given.key == key) return &given;
  return nullptr;
}

bool is_orphan(const FileRestorer& files, const schema::Tty& tty) {
  return is_pty(tty) && files.request().orphan_pts_master &&
         files.request().shell_job == ShellJob::kRefuse && inherited(files, tty) == nullptr;
}

bool comes_from_machine(const FileRestorer& files, const schema::Tty& tty) {
  return !tty.machine_node().empty() && files.request().shell_job == ShellJob::kRefuse &&
         inherited(files, tty) == nullptr;
}

Result<Fd> open_machines(const schema::Tty& tty, int flags) {
  struct stat now {};
  const char* path = tty.machine_node().c_str();
  TRY(SYSCALL(::stat(path, &now), "find the terminal %s", path));
  if (!S_ISCHR(now.st_mode) || now.st_rdev != tty.node_number() || !is_machines(now.st_rdev))
    return Error::unsupported(strf("%s is not the terminal %u:%u any more", path,
                                   major(tty.node_number()), minor(tty.node_number())));
  return sys::open(path, flags);
}

Result<Fd> open_outside(FileRestorer& files, const schema::OpenFile& record) {
  const schema::Tty& tty = record.tty();
  int flags = static_cast<int>(record.flags() & (O_ACCMODE | O_NONBLOCK)) | O_NOCTTY;
  if (const InheritedFd* given = inherited(files, tty)) return reopen_terminal(given->fd, flags);
  if (comes_from_machine(files, tty)) return open_machines(tty, flags);
  if (is_orphan(files, tty)) {
    const int master = TRY(ensure_orphan_master(files, record));
    return tty.kind() == schema::Tty::CONTROLLING ? open_current(master, record)
                                                  : open_slave(master, record);
  }
  if (files.request().shell_job != ShellJob::kInheritTerminal)
    return Error::unsupported(
        strf("the terminal %s was outside the tree; --shell-job puts yours in its place",
             name_of(tty).c_str()));
  if (tty.kind() == schema::Tty::CONTROLLING) return sys::open("/dev/tty", flags);
  int own = own_terminal();
  if (own < 0)
    return Error::usage(
        "--shell-job needs a terminal, and none of standard input, output and error is one");
  return reopen_terminal(own, flags);
}

Result<Fd> open(FileRestorer& files, const schema::OpenFile& record) {
  const schema::Tty& tty = record.tty();
  if (tty.kind() == schema::Tty::MASTER) {
    Fd master = files.take(kGroup, master_key(tty));
    if (master.valid()) return master;
    return make_mounted_master(files, record);
  }
  if (tty.hung_up()) return make_hung_up(record);
  const schema::OpenFile* master = is_pty(tty) ? find_master(files, tty) : nullptr;
  if (master == nullptr) return open_outside(files, record);
  int number = TRY(ensure_master(files, *master));
  if (tty.kind() == schema::Tty::CONTROLLING) return open_current(number, record);
  return open_slave(number, record);
}

// By its name: opening a slave that nobody had open would make the master see it close.
Result<> restore_node(const FileRestorer& files, const schema::Tty& tty) {
  std::string path = name_of(tty);
  struct stat now {};
  if (!tty.has_node() || ::stat(path.c_str(), &now) != 0 || minor(now.st_rdev) != tty.number())
    return {};
  TRY(SYSCALL(::chown(path.c_str(), files.user(tty.node().uid()), files.group(tty.node().gid())),
              "chown %s", path.c_str()));
  TRY(SYSCALL(::chmod(path.c_str(), tty.node().mode()), "chmod %s", path.c_str()));
  return {};
}

// After every end is open: what would have kept them from opening.
Result<> connect(FileRestorer& files, const schema::OpenFile& record, const Fd& fd) {
  const schema::Tty& tty = record.tty();
  if (tty.hung_up()) return {};
  if (comes_from_machine(files, tty)) return {};
  bool outside = !is_pty(tty) || find_master(files, tty) == nullptr;
  if (outside && tty.kind() == schema::Tty::CONTROLLING) return {};
  if (!outside && tty.kind() == schema::Tty::MASTER) TRY(fill_queues(fd, tty));
  TRY(set_modes(fd, tty));
  if (outside && is_orphan(files, tty)) TRY(restore_node(files, tty));
  if (outside || tty.kind() != schema::Tty::MASTER) {
    if (tty.exclusive() && !outside) TRY(SYSCALL(::ioctl(fd.get(), TIOCEXCL), "ioctl TIOCEXCL"));
    return {};
  }
  int packet = tty.packet_mode() ? 1 : 0;
  TRY(SYSCALL(::ioctl(fd.get(), TIOCPKT, &packet), "ioctl TIOCPKT"));
  TRY(restore_node(files, tty));
  if (tty.slave_closed()) {
    schema::OpenFile any;
    any.set_flags(O_RDWR);
    TRY(open_slave(fd.get(), any)).close();
  }
  int locked = tty.locked() ? 1 : 0;
  TRY(SYSCALL(::ioctl(fd.get(), TIOCSPTLCK, &locked), "ioctl TIOCSPTLCK"));
  return {};
}

}  // namespace

uint32_t stat_device(const schema::Tty& tty) {
  return (tty.number() & 0xff) | (tty.driver() << 8) | ((tty.number() & ~0xffu) << 12);
}

bool is_terminal(const schema::OpenFile& file, uint32_t device) {
  return file.has_tty() && !file.tty().hung_up() && stat_device(file.tty()) == device;
}

std::string name_of(const schema::Tty& tty) {
  if (is_pty(tty)) return strf("/dev/pts/%u", tty.number());
  return strf("%u:%u", tty.driver(), tty.number());
}

int own_terminal() {
  for (int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
    if (::isatty(fd) == 1) return fd;
  return -1;
}

extern const FdRoom kRoom = {.name = "tty",
                             .kind = schema::OpenFile::kTty,
                             .recognises = recognises,
                             .preflight = preflight,
                             .dump = dump,
                             .check = check,
                             .open = open,
                             .connect = connect};

}  // namespace ncr::tty
