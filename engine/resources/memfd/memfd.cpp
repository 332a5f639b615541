// A memfd is a file of the kernel's own tmpfs: name, size, content, seals and mode belong to the
// inode, position and flags to the description. Mappings and descriptors of one inode meet in the
// table of shared memory objects (engine/memory/shared_memory_table.h), which holds what the inode
// is. Anonymous shared memory that was opened through /proc/PID/map_files, or is mapped privately,
// is such a file too. At restore the object exists before the first fork; each description is
// opened from it. dump runs in the engine, open in the child.
#include <fcntl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "engine/base/deleted_mark.h"
#include "engine/memory/shared_memory_table.h"
#include "engine/resources/file_restorer.h"
#include "engine/resources/file_table.h"
#include "engine/resources/shared_memory/shared_memory.h"
#include "engine/resources/status_flags.h"

namespace ncr::memfd {
namespace {

constexpr std::string_view kPrefix = "/memfd:";
constexpr std::string_view kAnonymous = "/dev/zero (deleted)";  // memory that processes share

bool recognises(const FdProbe& probe) {
  const bool anonymous = probe.link == kAnonymous && major(probe.stat.st_dev) == 0;
  return S_ISREG(probe.stat.st_mode) && probe.stat.st_nlink == 0 &&
         (probe.link.starts_with(kPrefix) || anonymous) && (probe.flags & O_PATH) == 0;
}

Result<> dump(FileTable& files, const FdProbe& probe, schema::OpenFile* record) {
  if (files.shared_memory() == nullptr) return Error::unsupported("memfds are not dumped here");
  schema::SharedMemory description;
  if (probe.link != kAnonymous) {
    std::string name = probe.link.substr(kPrefix.size());
    drop_deleted_mark(&name);
    description.set_memfd(true);
    description.set_name(name);
  }
  Fd readable = TRY(reopen(probe.local, O_RDONLY));
  record->mutable_memfd()->set_shmem_id(
      TRY(files.shared_memory()->add(std::move(readable), description)));
  record->mutable_memfd()->set_position(probe.position);
  return {};
}

// The description that memfd_create(2) made does not count as open for writing: a program in the
// memfd can be executed while it is held. Any other one would be in the way (ETXTBSY), so the first
// that may write is taken for it.
bool is_original(const Image& image, const schema::OpenFile& record) {
  if ((record.flags() & O_ACCMODE) != O_RDWR) return false;
  for (const auto& [id, other] : image.files)
    if (other.has_memfd() && other.memfd().shmem_id() == record.memfd().shmem_id() &&
        (other.flags() & O_ACCMODE) == O_RDWR && id < record.id())
      return false;
  return true;
}

Result<Fd> open_description(FileRestorer& files, const schema::OpenFile& record) {
  const uint64_t object = record.memfd().shmem_id();
  if (!is_original(files.image(), record))
    return files.shared_memory()->open(object, static_cast<unsigned>(open_flags(record.flags())));
  const int made = TRY(files.shared_memory()->descriptor(object));
  return Fd(TRY(SYSCALL(::fcntl(made, F_DUPFD_CLOEXEC, 0), "fcntl F_DUPFD_CLOEXEC")));
}

Result<Fd> open(FileRestorer& files, const schema::OpenFile& record) {
  const schema::Memfd& memfd = record.memfd();
  if (files.shared_memory() == nullptr) return Error::unsupported("memfds are not restored here");
  Fd fd = TRY(open_description(files, record));
  if (memfd.position() != 0)
    TRY(SYSCALL(::lseek(fd.get(), static_cast<off_t>(memfd.position()), SEEK_SET), "lseek"));
  TRY(set_status_flags(fd, record.flags()));
  return fd;
}

}  // namespace

extern const FdRoom kRoom = {.name = "memfd",
                             .kind = schema::OpenFile::kMemfd,
                             .recognises = recognises,
                             .dump = dump,
                             .open = open};

}  // namespace ncr::memfd
