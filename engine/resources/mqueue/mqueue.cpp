// A descriptor of a POSIX message queue (mq_open(3)): a description with a way of access and
// O_NONBLOCK, on a file of the queue file system of one ipc namespace. The queue itself, with its
// messages, belongs to that namespace (engine/resources/ipc_namespace), or stays where it is if the
// namespace is not the tree's own. Userspace cannot see which namespace a queue is of. A queue
// without a name, and one on which somebody waits to be notified (mq_notify(3)), is refused. dump
// runs in the engine, open in the child.
#include <fcntl.h>
#include <mqueue.h>

#include "engine/resources/ipc_namespace/posix_queues.h"
#include "engine/resources/room.h"
#include "engine/resources/status_flags.h"
#include "engine/resources/unsupported.h"

namespace ncr::mqueue {
namespace {

constexpr int64_t kMqueueMagic = 0x19800202;

bool recognises(const FdProbe& probe) {
  constexpr off_t kStatusText = 80;  // what stat(2) says of every queue: saves asking the others
  if (!S_ISREG(probe.stat.st_mode) || probe.stat.st_size != kStatusText ||
      (probe.flags & O_PATH) != 0)
    return false;
  Result<int64_t> kind = file_system_of(probe.local);
  return kind.ok() && kind.value() == kMqueueMagic;
}

Result<> preflight(const FdProbe& probe, Blockers& blockers) {
  const std::string object = strf("fd %d: POSIX queue %s", raw(probe.number), probe.link.c_str());
  if (probe.stat.st_nlink == 0) {
    blockers.add(*probe.task, object, "it has no name any more (mq_unlink)");
    return {};
  }
  Fd readable = TRY(reopen(probe.local, O_RDONLY));
  const std::string path = strf("/proc/self/fd/%d", readable.get());
  const std::string status = TRY(sys::read_file(path.c_str()));
  if (ipc_namespace::has_notification(status))
    blockers.add(*probe.task, object, "a process waits to be notified of a message (mq_notify)");
  return {};
}

// The link reads as a path in a mount, or in none: only the last part is the queue's name.
Result<> dump(FileTable&, const FdProbe& probe, schema::OpenFile* record) {
  record->mutable_mqueue()->set_name(probe.link.substr(probe.link.rfind('/') + 1));
  return {};
}

Result<Fd> open(FileRestorer&, const schema::OpenFile& record) {
  const std::string name = "/" + record.mqueue().name();
  const int flags = static_cast<int>(record.flags()) & (O_ACCMODE | O_NONBLOCK);
  Result<mqd_t> opened = SYSCALL(::mq_open(name.c_str(), flags), "mq_open %s", name.c_str());
  if (!opened.ok() && opened.error().os_error() == ENOENT)
    return opened.take_error().while_doing("the queue was removed since the dump");
  Fd fd(TRY(std::move(opened)));
  TRY(set_status_flags(fd, record.flags()));
  return fd;
}

}  // namespace

extern const FdRoom kRoom = {.name = "mqueue",
                             .kind = schema::OpenFile::kMqueue,
                             .recognises = recognises,
                             .preflight = preflight,
                             .dump = dump,
                             .open = open};

}  // namespace ncr::mqueue
