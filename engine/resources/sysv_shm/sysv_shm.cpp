// An attachment of a System V segment (shmat(2)) is a mapping of its file through a file of its own
// (struct shm_file_data), so that the kernel can count attachments; /proc/PID/maps shows it as
// "/SYSV00000000 (deleted)" with the segment's id as inode number. shmdt(2) takes away all that is
// left of one attachment, told by that file. Userspace cannot see of which ipc namespace a segment
// is: it is looked for in the one that the task is in. Nor can it see which program attached which
// of two mappings of a segment; each that lies as one attachment would is taken for one. look()
// runs in the engine, Segments in the coordinator, Attachments in the child.
#include "engine/resources/sysv_shm/sysv_shm.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/stat.h>

#include <cinttypes>

#include "engine/memory/huge_pages.h"
#include "engine/resources/ipc_namespace/segments.h"

namespace ncr::sysv_shm {
namespace {

Result<uint64_t> inode_of(const Fd& proc) {
  struct stat status {};
  TRY(SYSCALL(::fstatat(proc.get(), "ns/ipc", &status, 0), "stat ns/ipc"));
  return static_cast<uint64_t>(status.st_ino);
}

void* failed() { return reinterpret_cast<void*>(-1); }

}  // namespace

Result<> look(const Task& task, const VmaLine& line, SharedMemoryTable& shared, Blockers& blockers,
              schema::Vma* vma) {
  const int id = static_cast<int>(line.inode);
  vma->set_sysv_id(id);
  vma->set_sysv_read_only(!line.may_write);
  Fd self = TRY(sys::open("/proc/thread-self", O_PATH));
  const uint64_t own = TRY(inode_of(self));
  const uint64_t theirs = TRY(inode_of(task.proc));
  if (own != theirs || shared.find(SharedMemoryTable::id_of_segment(own, id)) != nullptr) return {};
  schema::SharedSegment segment;
  Result<> dumped = ipc_namespace::dump_segment(id, own, shared, &segment);
  if (!dumped.ok()) {
    const int why = dumped.error().os_error();
    const bool unknown = why == EINVAL || why == EIDRM;
    if (!unknown && dumped.error().code() != ErrorCode::kUnsupported) return dumped;
    blockers.add(
        task, strf("System V segment %d", id),
        unknown ? "it is not of the ipc namespace that the task is in" : dumped.error().text());
    return {};
  }
  *shared.find(segment.content())->mutable_segment() = segment;
  return {};
}

Result<Segments> Segments::create(const Image& image, unsigned threads) {
  Segments segments;
  for (const schema::SharedMemory& record : image.shared_memory)
    if (record.has_segment())
      TRY_WHILE(segments.take(record.segment(), image, threads), "System V segment %d",
                record.segment().object().id());
  return segments;
}

Result<> Segments::take(const schema::SharedSegment& segment, const Image& image,
                        unsigned threads) {
  const schema::IpcObject& object = segment.object();
  shmid_ds status{};
  if (::shmctl(object.id(), IPC_STAT, &status) == 0) {
    if (status.shm_perm.__key == object.key() && status.shm_segsz == segment.size() &&
        status.shm_perm.cuid == object.creator_uid())
      return {};
    return Error::unsupported(
        "its id belongs to another segment now: remove that (ipcrm -m), or restore in a new ipc "
        "namespace");
  }
  TRY(ipc_namespace::make_segment(segment, image, threads));
  made_.push_back(object.id());
  if (!segment.removed()) return {};
  const void* held = ::shmat(object.id(), nullptr, SHM_RDONLY);
  TRY(SYSCALL(held == failed() ? -1 : 0, "shmat"));
  held_.push_back(held);
  return ipc_namespace::mark_removed(segment);
}

Segments::~Segments() {
  for (int id : made_) ::shmctl(id, IPC_RMID, nullptr);
  let_go();
}

void Segments::let_go() {
  for (const void* held : held_) ::shmdt(held);
  held_.clear();
}

Attachments::~Attachments() {
  for (const Attachment& attachment : attachments_) ::shmdt(attachment.at);
}

Result<const Attachments::Attachment*> Attachments::attach(const schema::Vma& vma) {
  const uint64_t base = vma.start() - vma.file_offset();
  for (const Attachment& known : attachments_)
    if (known.id == vma.sysv_id() && known.base == base && known.read_only == vma.sysv_read_only())
      return &known;
  shmid_ds status{};
  Result<int> found =
      SYSCALL(::shmctl(vma.sysv_id(), IPC_STAT, &status), "System V segment %d", vma.sysv_id());
  if (!found.ok()) return found.take_error().while_doing("it is not in the task's ipc namespace");
  int flags = vma.sysv_read_only() ? SHM_RDONLY : 0;
  if ((vma.prot() & PROT_EXEC) != 0) flags |= SHM_EXEC;
  void* at = ::shmat(vma.sysv_id(), nullptr, flags);
  TRY(SYSCALL(at == failed() ? -1 : 0, "shmat %d", vma.sysv_id()));
  attachments_.push_back({vma.sysv_id(), base, vma.sysv_read_only(), static_cast<char*>(at),
                          in_whole_pages(status.shm_segsz, vma.huge_page_shift())});
  return &attachments_.back();
}

Result<> Attachments::map(const schema::Vma& vma, uint64_t offset, uint64_t size, void* to) {
  const Attachment* whole = TRY(attach(vma));
  const uint64_t from = vma.file_offset() + offset;
  if (from > whole->size || size > whole->size - from)
    return Error::malformed("it reaches beyond the end of its segment");
  void* moved = ::mremap(whole->at + from, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, to);
  TRY(SYSCALL(moved == MAP_FAILED ? -1 : 0, "move an attachment"));
  TRY(SYSCALL(::mprotect(to, size, static_cast<int>(vma.prot())), "mprotect of an attachment"));
  return {};
}

}  // namespace ncr::sysv_shm
