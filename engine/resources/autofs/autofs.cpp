// A mount that asks a daemon to mount something when somebody passes (fs/autofs). The kernel keeps
// the pipe that it writes requests to, whose other end the daemon reads, the process group that is
// let pass (the daemon's), and a timeout; it tells all of it in mountinfo (pipe_ino: with
// CONFIG_CHECKPOINT_RESTORE). Without a pipe it is catatonic: it asks nobody, and holds nobody up.
// It comes back like that, and what is mounted below it is put in place; in the end the daemon
// gives it the pipe. What userspace cannot see: who waits for the daemon. A task of the tree that
// does cannot be stopped. look runs in the engine, restore in the daemon being born.
#include "engine/resources/autofs/autofs.h"

#include <fcntl.h>
#include <linux/auto_fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "engine/base/procfs.h"
#include "engine/resources/fdinfo.h"
#include "engine/resources/file_restorer.h"
#include "engine/resources/mount_namespace/mountinfo.h"
#include "engine/resources/status_flags.h"

namespace ncr::autofs {
namespace {

using mount_namespace::Refusal;

// linux/auto_dev-ioctl.h is no C++: struct autofs_dev_ioctl, with the argument of this command.
struct SetPipe {
  uint32_t version = 1;
  uint32_t subversion = 0;
  uint32_t size = sizeof(SetPipe);
  int32_t mount = -1;
  int32_t pipe = -1;
  int32_t unused = 0;
};
static_assert(sizeof(SetPipe) == 24);
constexpr unsigned long kSetPipe = _IOWR(AUTOFS_IOCTL, 0x78, SetPipe);

template <class Number>
Result<Number> number_in(std::string_view options, std::string_view name) {
  while (!options.empty()) {
    const size_t end = std::min(options.find(','), options.size());
    std::string_view option = options.substr(0, end);
    options.remove_prefix(std::min(end + 1, options.size()));
    if (!option.starts_with(name)) continue;
    option.remove_prefix(name.size());
    Number number = 0;
    auto [stop, error] = std::from_chars(option.data(), option.data() + option.size(), number);
    if (error != std::errc() || stop != option.data() + option.size()) break;
    return number;
  }
  return Error::unsupported(
      strf("this kernel does not tell its option %s", std::string(name).c_str()));
}

// The task's number of the end of the pipe that is read; -1: it has none.
Result<int> reads(const Task& task, const std::string& pipe) {
  for (const auto& [number, text] : *TRY(task.descriptors())) {
    Result<std::string> link = sys::read_link_at(task.proc, strf("fd/%d", number).c_str());
    if (!link.ok() || link.value() != pipe) continue;
    const FdInfo info = TRY(parse_fdinfo(text));
    if ((info.flags & O_ACCMODE) != O_WRONLY) return number;
  }
  return -1;
}

// /proc here is the tree's, that of its descriptor is not.
Result<bool> has_own_users(const Task& task) {
  return *TRY(task.proc_link("ns/user")) != TRY(sys::read_link_at(task.proc, "../self/ns/user"));
}

class Looker {
 public:
  Looker(const NamespaceProbe& probe, schema::MountedFileSystem* record)
      : probe_(probe), record_(record) {}

  // Empty if it can be made again.
  Result<std::string> look() {
    if (probe_.below) return std::string("a user namespace cannot mount it");
    told_ = TRY(parse_options(record_->options()));
    schema::Autofs* autofs = record_->mutable_autofs();
    autofs->set_timeout(told_.timeout);
    if (told_.pipe < 0) return std::string();
    autofs->set_pipe(static_cast<uint64_t>(told_.pipe));
    std::string reason = TRY(find_daemon(autofs));
    if (reason.empty()) reason = TRY(look_at_places());
    return reason;
  }

 private:
  Result<std::string> find_daemon(schema::Autofs* autofs) const {
    const std::string pipe = strf("pipe:[%lld]", static_cast<long long>(told_.pipe));
    for (size_t i = 0; i < probe_.tasks.size(); i++) {
      const Task& task = probe_.tasks[i];
      if (!task.alive() || task.pgid != told_.group) continue;
      const int number = TRY(reads(task, pipe));
      if (number < 0) continue;
      autofs->set_daemon(static_cast<uint32_t>(i));
      return look_at_daemon(task, number);
    }
    return std::string("its daemon is not in the tree, with the other end of its pipe");
  }

  Result<std::string> look_at_daemon(const Task& task, int number) const {
    if (TRY(has_own_users(task))) return std::string("a user namespace cannot mount it");
    if (*TRY(task.proc_link("ns/pid")) != *TRY(probe_.tasks.front().proc_link("ns/pid")))
      return std::string("its daemon is in a pid namespace below that of the tree's root");
    const Fd pipe =
        TRY(sys::open_at(task.proc, strf("fd/%d", number).c_str(), O_RDONLY | O_NONBLOCK));
    int waiting = 0;
    TRY(SYSCALL(::ioctl(pipe.get(), FIONREAD, &waiting), "FIONREAD"));
    if (waiting != 0) return std::string("somebody waits for its daemon");
    return std::string();
  }

  // To enter it there, while the tree is made, could be to ask the daemon.
  Result<std::string> look_at_places() const {
    for (const Task& task : probe_.tasks) {
      if (!task.alive() || task.pgid == told_.group) continue;
      for (const char* link : {"cwd", "root"}) {
        struct stat status {};
        TRY(SYSCALL(::fstatat(task.proc.get(), link, &status, 0), "stat /proc/%d/%s", task.pid,
                    link));
        if (status.st_dev == record_->device())
          return strf("process %d (%s), which it does not let pass, is in it", task.pid,
                      task.comm.c_str());
      }
    }
    return std::string();
  }

  const NamespaceProbe& probe_;
  schema::MountedFileSystem* record_;
  Told told_;
};

// ---- Restore

// The kernel takes the group of whoever calls (autofs_dev_ioctl_setpipefd).
Result<> give_pipe(const FileRestorer& files, const schema::Autofs& autofs, const Open& open) {
  int reader = -1;
  for (const auto& [id, file] : files.image().files)
    if (file.has_pipe() && file.pipe().inode() == autofs.pipe() &&
        (file.flags() & O_ACCMODE) != O_WRONLY && files.opened(id).ok())
      reader = TRY(files.opened(id));
  if (reader < 0) return Error::malformed("the daemon of an autofs does not have its pipe");
  const Fd pipe = TRY(procfs::open(strf("self/fd/%d", reader), O_WRONLY));
  SetPipe request;
  request.mount = open.top.get();
  request.pipe = pipe.get();
  TRY(SYSCALL(::ioctl(open.device.get(), kSetPipe, &request), "give an autofs its pipe"));
  return {};
}

Result<> restore(const ChildTask& child) {
  if (child.files == nullptr) return {};
  const Image& image = child.files->image();
  for (const schema::Namespace& space : image.namespaces)
    for (const schema::MountedFileSystem& system : space.mnt().file_systems()) {
      const schema::Autofs& autofs = system.autofs();
      if (autofs.pipe() == 0 || autofs.daemon() >= image.tasks.size() ||
          image.tasks[autofs.daemon()].pid() != child.record.pid())
        continue;
      const Open* open = child.files->autofs(space.id(), system.id());
      if (open != nullptr) TRY(give_pipe(*child.files, autofs, *open));
    }
  return {};
}

}  // namespace

Result<Told> parse_options(std::string_view options) {
  Told told;
  told.group = TRY(number_in<pid_t>(options, "pgrp="));
  told.timeout = TRY(number_in<uint64_t>(options, "timeout="));
  told.pipe = TRY(number_in<int64_t>(options, "pipe_ino="));
  return told;
}

void look(const NamespaceProbe& probe, schema::MountNamespace* table,
          std::vector<Refusal>* refusals) {
  for (schema::MountedFileSystem& system : *table->mutable_file_systems()) {
    if (system.type() != kType || system.origin() != schema::MountedFileSystem::MADE) continue;
    const schema::Mount* shown = nullptr;
    for (const schema::Mount& mount : table->mounts())
      if (mount.file_system() == system.id() && !mount.external()) shown = &mount;
    if (shown == nullptr) continue;
    Result<std::string> reason = Looker(probe, &system).look();
    std::string text = reason.ok() ? reason.take() : reason.error().text();
    if (!text.empty())
      refusals->push_back(
          {strf("mount %s (autofs)", shown->point().c_str()), std::move(text),
           strf("unmount it before the dump, or --external mnt[%s]:KEY", shown->point().c_str())});
  }
}

bool is_fed(const Task& reader, uint64_t pipe) {
  const std::string option = strf(",pipe_ino=%llu", static_cast<unsigned long long>(pipe));
  Result<const std::string*> space = reader.proc_link("ns/mnt");
  Result<std::string> own = sys::read_link_at(Fd(), "/proc/self/ns/mnt");
  if (!space.ok() || !own.ok() || *space.value() == own.value()) return false;
  Result<std::string> text = sys::read_file_at(reader.proc, "mountinfo");
  if (!text.ok()) return false;
  Result<std::vector<mount_namespace::MountLine>> lines =
      mount_namespace::parse_mountinfo(text.value());
  return lines.ok() && std::any_of(lines.value().begin(), lines.value().end(), [&](auto& line) {
           return line.type == kType &&
                  (line.options + ",").find(option + ",") != std::string::npos;
         });
}

bool is_fed(const Image& image, uint64_t pipe) {
  for (const schema::Namespace& space : image.namespaces)
    for (const schema::MountedFileSystem& system : space.mnt().file_systems())
      if (pipe != 0 && system.autofs().pipe() == pipe) return true;
  return false;
}

extern const TaskRoom kRoom = {.name = "autofs", .restore = restore};

}  // namespace ncr::autofs
