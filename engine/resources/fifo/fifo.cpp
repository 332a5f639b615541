// A fifo is a pipe that has a name in a file system. Its bytes live only as long as somebody has it
// open, so they are in the image. Opening one end waits for the other end, so the first of a group
// opens it for both, which never waits, and keeps that until all are open. If the fifo holds bytes
// at restore then somebody outside kept it open, and they are the very bytes of the image. An
// unlinked one is made again and unlinked again. dump runs in the engine, open in the child.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/deleted_mark.h"
#include "engine/resources/file_restorer.h"
#include "engine/resources/file_table.h"
#include "engine/resources/pipe/pipe.h"
#include "engine/resources/status_flags.h"

namespace ncr::fifo {
namespace {

constexpr const char* kBothEnds = "fifo, both ends";

bool recognises(const FdProbe& probe) {
  return S_ISFIFO(probe.stat.st_mode) && probe.link.starts_with("/") && (probe.flags & O_PATH) == 0;
}

Result<> preflight(const FdProbe& probe, Blockers& blockers) {
  if (probe.stat.st_nlink != 0 && !probe.is_at(probe.link))
    blockers.add(*probe.task, strf("fd %d: fifo %s", raw(probe.number), probe.link.c_str()),
                 "the name it was opened by is gone or is another file now",
                 "put it back under that name");
  return {};
}

Result<> dump(FileTable& files, const FdProbe& probe, schema::OpenFile* record) {
  schema::Fifo* fifo = record->mutable_fifo();
  record->set_group_id(group_of(probe.stat.st_dev, probe.stat.st_ino));
  std::string path = probe.link;
  fifo->set_unlinked(probe.stat.st_nlink == 0);
  if (fifo->unlinked()) drop_deleted_mark(&path);
  fifo->set_path(path);
  fifo->set_mode(probe.stat.st_mode);
  for (const schema::OpenFile* file : files.records())
    if (file->id() != record->id() && file->group_id() == record->group_id() && file->has_fifo())
      return {};
  return pipe::dump_content(probe.local, fifo->mutable_content());
}

Result<Fd> open_named(const schema::Fifo& fifo) {
  const char* path = fifo.path().c_str();
  Fd both = TRY(sys::open(path, O_RDWR | O_NONBLOCK));
  struct stat now {};
  TRY(SYSCALL(::fstat(both.get(), &now), "fstat %s", path));
  if (!S_ISFIFO(now.st_mode))
    return Error::unsupported(strf("%s is no fifo any more; make it again with mkfifo", path));
  return both;
}

Result<Fd> make_unlinked(const schema::Fifo& fifo) {
  const char* path = fifo.path().c_str();
  TRY_WHILE(SYSCALL(::mkfifo(path, 0600), "mkfifo %s", path),
            "an unlinked fifo comes back under its old name for a moment");
  Result<Fd> both = sys::open(path, O_RDWR | O_NONBLOCK);
  TRY(SYSCALL(::unlink(path), "unlink %s", path));
  Fd fd = TRY(std::move(both));
  TRY(SYSCALL(::fchmod(fd.get(), fifo.mode() & 07777), "fchmod %s", path));
  return fd;
}

const schema::PipeContent* content_of(const FileRestorer& files, uint64_t group) {
  for (const auto& [id, file] : files.image().files)
    if (file.group_id() == group && file.has_fifo() && file.fifo().has_content())
      return &file.fifo().content();
  return nullptr;
}

Result<Fd> open_both_ends(const FileRestorer& files, const schema::OpenFile& record) {
  const schema::Fifo& fifo = record.fifo();
  Fd both = TRY(fifo.unlinked() ? make_unlinked(fifo) : open_named(fifo));
  int waiting = 0;
  TRY(SYSCALL(::ioctl(both.get(), FIONREAD, &waiting), "FIONREAD %s", fifo.path().c_str()));
  const schema::PipeContent* content = content_of(files, record.group_id());
  if (waiting == 0 && content != nullptr) TRY(pipe::fill(both, *content));
  return both;
}

Result<Fd> open(FileRestorer& files, const schema::OpenFile& record) {
  Fd both = files.take(record.group_id(), kBothEnds);
  if (!both.valid()) both = TRY(open_both_ends(files, record));
  Fd fd = TRY(reopen(both, open_flags(record.flags()) | O_NONBLOCK));
  files.stash(record.group_id(), kBothEnds, std::move(both));
  TRY(set_status_flags(fd, record.flags()));
  return fd;
}

}  // namespace

extern const FdRoom kRoom = {.name = "fifo",
                             .kind = schema::OpenFile::kFifo,
                             .recognises = recognises,
                             .preflight = preflight,
                             .dump = dump,
                             .open = open};

}  // namespace ncr::fifo
