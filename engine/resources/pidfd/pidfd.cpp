// A pidfd names a process (struct pid), not a number: it stays that process's when the number has
// become another's. fdinfo tells the number, -1 once the process was collected. Since 6.9 all
// descriptors of one process show one inode. Of another state only O_NONBLOCK is known. A process
// of the tree has to exist before a descriptor for it does, so each task opens its own when all
// are there. One for a process that is gone is made with a child that ends at once, by the owner of
// all that name it (docs/adr/0004). dump and check run in the engine, open and open_late in the
// child.
#include <linux/sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "engine/base/proc.h"
#include "engine/resources/file_restorer.h"
#include "engine/resources/pidfd/pidfd.h"
#include "engine/resources/status_flags.h"
#include "engine/tree/pids.h"

namespace ncr::pidfd {

Result<pid_t> parse_pid(const std::string& fdinfo) {
  const size_t at = fdinfo.find("\nPid:");
  if (at == std::string::npos) return Error::malformed("fdinfo of a pidfd does not name a process");
  const long pid = std::strtol(fdinfo.c_str() + at + 5, nullptr, 10);
  if (pid == 0) return Error::unsupported("the process is in a pid namespace that we do not see");
  return pid < 0 ? 0 : static_cast<pid_t>(pid);
}

namespace {

constexpr int kMostTries = 100;

bool recognises(const FdProbe& probe) {
  return probe.link == "anon_inode:[pidfd]" || probe.link.starts_with("pidfd:");
}

Result<> dump(FileTable&, const FdProbe& probe, schema::OpenFile* record) {
  record->mutable_pidfd()->set_pid(TRY(parse_pid(probe.fdinfo)));
  record->mutable_pidfd()->set_inode(probe.stat.st_ino);
  if (record->pidfd().pid() == 0)
    record->set_group_id(group_of(probe.stat.st_dev, probe.stat.st_ino));
  return {};
}

// Empty, or why the process cannot be named again.
Result<std::string> obstacle(pid_t pid, pid_t root) {
  for (pid_t at = pid; at != root;) {
    Result<std::string> text = sys::read_file(strf("/proc/%d/status", at).c_str());
    if (!text.ok()) return strf("process %d is gone", pid);
    const proc::Status status = TRY(proc::parse_status(text.value()));
    if (at == pid && status.tgid != pid) return strf("it names thread %d, not a process", pid);
    if (status.ppid <= 1) return strf("process %d is not part of the tree", pid);
    at = status.ppid;
  }
  return std::string();
}

// Who has it must be able to name the process with a number: it is in its own pid namespace, or the
// holder is in that of the root, which has a number for everybody.
Result<bool> is_nameable_by(const Task& holder, pid_t pid, pid_t root) {
  const std::string own = TRY(sys::read_link_at(holder.proc, "ns/pid"));
  for (pid_t seen : {root, pid})
    if (TRY(sys::read_link_at(Fd(), strf("/proc/%d/ns/pid", seen).c_str())) == own) return true;
  return false;
}

Result<> check(const std::vector<SeenFile>& all, const DumpRequest& request, Blockers& blockers) {
  for (const SeenFile& file : all) {
    if (!file.record->has_pidfd()) continue;
    if (file.holder == nullptr)
      return Error::unsupported("a pidfd that waits in the queue of a socket is not restored");
    const pid_t pid = file.record->pidfd().pid();
    if (pid == 0) continue;
    std::string why = TRY(obstacle(pid, request.pid));
    if (why.empty() && !TRY(is_nameable_by(*file.holder, pid, request.pid)))
      why = strf("process %d is in another pid namespace than its holder", pid);
    if (!why.empty())
      blockers.add(*file.holder, strf("fd %d: pidfd", raw(file.number)), why,
                   "close it before the dump");
  }
  return {};
}

// A child that ends at once and tells nobody: its number is none of the image's. It is not
// collected yet.
struct Ended {
  pid_t number = 0;
  Fd fd;
};

Result<Ended> make_ended(const RestorePlan& plan) {
  for (int attempt = 0; attempt < kMostTries; attempt++) {
    const pid_t number = TRY(spare_pid(plan, attempt));
    int fd = -1;
    clone_args args{};
    args.flags = CLONE_PIDFD;
    args.pidfd = reinterpret_cast<uint64_t>(&fd);
    args.set_tid = reinterpret_cast<uint64_t>(&number);
    args.set_tid_size = 1;
    Result<long> child =
        SYSCALL(::syscall(SYS_clone3, &args, sizeof args), "make a process to be gone");
    if (!child.ok() && child.error().os_error() == EEXIST) continue;
    if (TRY(std::move(child)) == 0) ::_exit(0);
    return Ended{number, Fd(fd)};
  }
  return Error::unsupported("no process number is free");
}

std::string key_of(const schema::OpenFile& record) {
  return strf("pidfd %u of somebody gone", record.id());
}

bool is_gone(const schema::OpenFile& record) {
  return record.has_pidfd() && record.pidfd().pid() == 0;
}

// Once it is collected nobody can open it any more: this is done for all that name it.
Result<> open_others(FileRestorer& files, const schema::OpenFile& record, pid_t number) {
  if (record.group_id() == 0) return {};
  for (const schema::OpenFile* other : files.members(record.group_id()))
    if (other->id() != record.id() && is_gone(*other))
      files.stash(record.group_id(), key_of(*other), TRY(sys::pidfd_open(number)));
  return {};
}

Result<Fd> open_gone(FileRestorer& files, const schema::OpenFile& record) {
  Fd fd = files.take(record.group_id(), key_of(record));
  if (fd.valid()) return fd;
  Ended ended = TRY(make_ended(files.plan()));
  Result<> others = open_others(files, record, ended.number);
  TRY(SYSCALL(::waitpid(ended.number, nullptr, __WALL), "waitpid %d", ended.number));
  TRY(std::move(others));
  return std::move(ended.fd);
}

Result<Fd> open(FileRestorer& files, const schema::OpenFile& record) {
  Fd fd = TRY(open_gone(files, record));
  TRY(set_status_flags(fd, record.flags()));
  return fd;
}

Result<Fd> open_late(FileRestorer& files, const schema::OpenFile& record) {
  if (is_gone(record)) return open(files, record);  // of an image that does not group them
  Fd fd = TRY(sys::pidfd_open(files.number(record.pidfd().pid())));
  TRY(set_status_flags(fd, record.flags()));
  return fd;
}

}  // namespace

extern const FdRoom kRoom = {.name = "pidfd",
                             .kind = schema::OpenFile::kPidfd,
                             .recognises = recognises,
                             .dump = dump,
                             .check = check,
                             .open = open,
                             .open_late = open_late};

}  // namespace ncr::pidfd
