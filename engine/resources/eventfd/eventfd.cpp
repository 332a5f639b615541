// An eventfd is a 64-bit counter and one fixed flag (EFD_SEMAPHORE). The kernel shows both in
// fdinfo; the flag only since 6.5. Before, it is found out by reading: a semaphore gives 1, a
// counter gives all; what was read is written back. The tree is frozen, so nobody sees the gap.
// dump runs in the engine, open in the child.
#include <sys/eventfd.h>
#include <unistd.h>

#include "engine/resources/eventfd/eventfd.h"
#include "engine/resources/fdinfo.h"
#include "engine/resources/status_flags.h"

namespace ncr::eventfd {

// The counter must be at least 2 for the two kinds to differ.
Result<bool> semaphore_by_reading(const Fd& fd, uint64_t count) {
  constexpr uint64_t kEnough = 2;
  uint64_t added = count < kEnough ? kEnough - count : 0;
  if (added != 0) TRY(sys::write_all(fd, &added, sizeof added));
  uint64_t taken = 0;
  TRY(sys::read_exact(fd, &taken, sizeof taken));
  bool semaphore = taken == 1;
  if (!semaphore) {
    if (count != 0) TRY(sys::write_all(fd, &count, sizeof count));
    return false;
  }
  for (uint64_t i = 1; i < added; i++) TRY(sys::read_exact(fd, &taken, sizeof taken));
  if (added == 0) TRY(sys::write_all(fd, &taken, sizeof taken));
  return true;
}

namespace {

bool recognises(const FdProbe& probe) { return probe.link == "anon_inode:[eventfd]"; }

Result<> dump(FileTable&, const FdProbe& probe, schema::OpenFile* record) {
  EventfdInfo info = TRY(parse_eventfd(probe.fdinfo));
  if (!info.semaphore.has_value())
    info.semaphore = TRY(semaphore_by_reading(probe.local, info.count));
  record->mutable_eventfd()->set_count(info.count);
  record->mutable_eventfd()->set_semaphore(*info.semaphore);
  return {};
}

Result<Fd> open(FileRestorer&, const schema::OpenFile& record) {
  const schema::Eventfd& event = record.eventfd();
  int flags = EFD_CLOEXEC | (event.semaphore() ? EFD_SEMAPHORE : 0);
  Fd fd(TRY(SYSCALL(::eventfd(0, flags), "eventfd")));
  uint64_t count = event.count();
  if (count != 0) TRY(sys::write_all(fd, &count, sizeof count));
  TRY(set_status_flags(fd, record.flags()));
  return fd;
}

}  // namespace

extern const FdRoom kRoom = {.name = "eventfd",
                             .kind = schema::OpenFile::kEventfd,
                             .recognises = recognises,
                             .dump = dump,
                             .open = open};

}  // namespace ncr::eventfd
