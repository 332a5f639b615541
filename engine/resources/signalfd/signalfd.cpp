// A signalfd is a mask: what a read() returns comes from the queues of the reader, which the signal
// rooms restore. The kernel shows the mask in fdinfo. dump runs in the engine, open in the child.
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/resources/fdinfo.h"
#include "engine/resources/room.h"
#include "engine/resources/status_flags.h"

namespace ncr::signalfd {
namespace {

bool recognises(const FdProbe& probe) { return probe.link == "anon_inode:[signalfd]"; }

Result<> dump(FileTable&, const FdProbe& probe, schema::OpenFile* record) {
  record->mutable_signalfd()->set_mask(TRY(parse_signalfd_mask(probe.fdinfo)));
  return {};
}

Result<Fd> open(FileRestorer&, const schema::OpenFile& record) {
  uint64_t mask = record.signalfd().mask();
  Fd fd(static_cast<int>(
      TRY(SYSCALL(::syscall(SYS_signalfd4, -1, &mask, sizeof mask, O_CLOEXEC), "signalfd4"))));
  TRY(set_status_flags(fd, record.flags()));
  return fd;
}

}  // namespace

extern const FdRoom kRoom = {.name = "signalfd",
                             .kind = schema::OpenFile::kSignalfd,
                             .recognises = recognises,
                             .dump = dump,
                             .open = open};

}  // namespace ncr::signalfd
