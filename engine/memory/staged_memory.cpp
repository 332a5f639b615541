// Runs in the child: maps and fills the memory of the task that this process becomes, at a constant
// shift (docs/adr/0003). The kernel keeps what we set on a staged VMA (protection, advice, name,
// guards) when the restorer moves it; locks are the exception and are set after the move. Pages
// inherited by fork are touched only where they differ: a page written to stops being shared.
#include "engine/memory/staged_memory.h"

#include <sys/mman.h>
#include <sys/prctl.h>

#include <algorithm>
#include <cinttypes>
#include <cstring>

#include "engine/memory/huge_pages.h"
#include "engine/memory/page_fill.h"
#include "engine/memory/stage_plan.h"
#include "engine/resources/file_restorer.h"
#include "engine/resources/sysv_shm/sysv_shm.h"

#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08
#endif
#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#define PR_SET_VMA_ANON_NAME 0
#endif

namespace ncr {
namespace {

constexpr int kGuardInstall = 102;  // MADV_GUARD_INSTALL, Linux 6.13

class Stager {
 public:
  Stager(const StageRequest& request, const StagedMemory::FileOf& file_of)
      : request_(request), file_of_(file_of) {}
  Result<> run();

 private:
  Result<> map(const VmaStage& stage);
  Result<> map_piece(const schema::Vma& vma, const MapPiece& piece, int prot);
  Result<int> descriptor(const schema::Vma& vma) const;
  Result<> fill(const StagePlan& plan);
  Result<> finish(const VmaStage& stage);
  Result<> guard(const schema::GuardRange& range);
  void set_name(const schema::Vma& vma) const;

  char* at(uint64_t address) const {
    return reinterpret_cast<char*>(staged_address(address, request_.shift));
  }
  StoredMemory stored(const schema::Task* task) const;

  const StageRequest& request_;
  const StagedMemory::FileOf& file_of_;
  sysv_shm::Attachments attachments_;
};

std::string where(const schema::Vma& vma) {
  return strf("mapping %" PRIx64 "-%" PRIx64, vma.start(), vma.end());
}

size_t size_of(const AddressRange& range) { return static_cast<size_t>(range.end - range.start); }

int map_flags(const schema::Vma& vma) {
  int flags = MAP_FIXED_NOREPLACE;
  switch (vma.kind()) {
    case schema::VMA_ANONYMOUS:
      flags |= MAP_ANONYMOUS | (vma.droppable() ? MAP_DROPPABLE : MAP_PRIVATE) |
               huge_page_flags(MAP_HUGETLB, vma.huge_page_shift());
      break;
    case schema::VMA_FILE_PRIVATE:
      flags |= MAP_PRIVATE;
      break;
    default:
      flags |= MAP_SHARED;
  }
  if (vma.grows_down()) flags |= MAP_GROWSDOWN | MAP_STACK;
  if (vma.no_reserve()) flags |= MAP_NORESERVE;
  return flags;
}

int final_prot(const schema::Vma& vma) { return static_cast<int>(vma.prot()); }

// What the VMA must allow while pages are written.
int staging_prot(const VmaStage& stage) {
  if (!stage.filled || (stage.vma->prot() & PROT_WRITE) != 0) return final_prot(*stage.vma);
  return PROT_READ | PROT_WRITE;
}

bool is_private(const schema::Vma& vma) {
  return vma.kind() == schema::VMA_ANONYMOUS || vma.kind() == schema::VMA_FILE_PRIVATE;
}

Result<> protect(char* start, size_t size, int prot) {
  TRY(SYSCALL(::mprotect(start, size, prot), "mprotect"));
  return {};
}

// Huge pages and merging are a matter of speed, and a kernel may be built without them.
Result<> advise(char* start, size_t size, int advice) {
  Result<int> advised = SYSCALL(::madvise(start, size, advice), "madvise %d", advice);
  if (advised.ok()) return {};
  const bool optional =
      advice == MADV_HUGEPAGE || advice == MADV_NOHUGEPAGE || advice == MADV_MERGEABLE;
  if (optional && advised.error().os_error() == EINVAL) return {};
  return advised.take_error();
}

StoredMemory Stager::stored(const schema::Task* task) const {
  if (task == nullptr) return {};
  auto pages = request_.image.task_pages.find(task->pid());
  return {&task->memory(), pages == request_.image.task_pages.end() ? nullptr : &pages->second};
}

Result<> Stager::run() {
  if (request_.task.memory().shared_with() != 0)
    return Error::unsupported(strf("task %d shares its address space with task %d",
                                   request_.task.pid(), request_.task.memory().shared_with()));
  StoredMemory parent = stored(request_.parent);
  StoredMemory child = stored(&request_.task);
  StagePlan plan = TRY(plan_stage(parent, child));
  for (const AddressRange& range : plan.unmap)
    TRY(SYSCALL(::munmap(at(range.start), size_of(range)), "munmap %#" PRIx64, range.start));
  for (const VmaStage& stage : plan.vmas) TRY_WHILE(map(stage), "%s", where(*stage.vma).c_str());
  for (const AddressRange& range : plan.drop)
    TRY(SYSCALL(::madvise(at(range.start), size_of(range), MADV_DONTNEED),
                "drop pages at %#" PRIx64, range.start));
  TRY(fill(plan));
  for (const VmaStage& stage : plan.vmas) TRY_WHILE(finish(stage), "%s", where(*stage.vma).c_str());
  return {};
}

Result<int> Stager::descriptor(const schema::Vma& vma) const {
  if (vma.kind() == schema::VMA_ANONYMOUS) return -1;
  if (vma.kind() == schema::VMA_SHMEM) return request_.shared.descriptor(vma.shmem_id());
  return file_of_(vma.file_id());
}

Result<> Stager::map_piece(const schema::Vma& vma, const MapPiece& piece, int prot) {
  char* start = at(piece.range.start);
  const size_t size = size_of(piece.range);
  if (piece.extends) {
    // One VMA grown by mremap stays one VMA; a second mapping beside inherited memory is never
    // merged with it.
    const auto old_size = static_cast<size_t>(piece.range.start - piece.inherited);
    if (::mremap(at(piece.inherited), old_size, old_size + size, 0) != MAP_FAILED) return {};
  }
  if (vma.kind() == schema::VMA_SYSV)
    return attachments_.map(vma, piece.range.start - vma.start(), size, start);
  const bool file = vma.kind() != schema::VMA_ANONYMOUS;
  int fd = TRY(descriptor(vma));
  const auto offset = file ? vma.file_offset() + (piece.range.start - vma.start()) : 0;
  void* mapped = ::mmap(start, size, prot, map_flags(vma), fd, static_cast<off_t>(offset));
  Result<int> done = SYSCALL(mapped == MAP_FAILED ? -1 : 0, "mmap");
  if (!done.ok() && done.error().os_error() == ENOMEM && vma.huge_page_shift() != 0)
    return done.take_error().while_doing(
        "there are too few huge pages of its size: raise nr_hugepages in /sys/kernel/mm/hugepages");
  TRY(std::move(done));
  if (mapped == start) return {};
  ::munmap(mapped, size);
  return Error::system(EEXIST, "mmap of the staged copy");
}

Result<> Stager::map(const VmaStage& stage) {
  const schema::Vma& vma = *stage.vma;
  const int prot = staging_prot(stage);
  for (const MapPiece& piece : stage.map) TRY(map_piece(vma, piece, prot));
  const bool same =
      stage.inherited != nullptr && !stage.mixed && final_prot(*stage.inherited) == prot;
  const auto size = static_cast<size_t>(vma.end() - vma.start());
  if (stage.inherited != nullptr && !same) TRY(protect(at(vma.start()), size, prot));
  if (stage.inherited != nullptr && stage.map.empty() && !stage.mixed &&
      stage.inherited->advice_size() == vma.advice_size())
    return {};
  for (uint32_t advice : vma.advice()) TRY(advise(at(vma.start()), size, static_cast<int>(advice)));
  return {};
}

Result<> Stager::fill(const StagePlan& plan) {
  std::vector<FillSpan> spans;
  spans.reserve(plan.read.size());
  auto stage = plan.vmas.begin();
  for (const PageRead& read : plan.read) {
    while (stage->vma->end() <= read.address) ++stage;
    const bool anonymous = stage->vma->kind() == schema::VMA_ANONYMOUS;
    spans.push_back(
        {staged_address(read.address, request_.shift), read.size, read.stored, anonymous});
  }
  TRY(fill_pages(request_.image.pages, std::move(spans), request_.threads));
  for (const AddressRange& range : plan.zero) std::memset(at(range.start), 0, size_of(range));
  return {};
}

Result<> Stager::finish(const VmaStage& stage) {
  const schema::Vma& vma = *stage.vma;
  const auto size = static_cast<size_t>(vma.end() - vma.start());
  if (staging_prot(stage) != final_prot(vma)) TRY(protect(at(vma.start()), size, final_prot(vma)));
  const bool fresh = stage.inherited == nullptr || !stage.map.empty() || stage.mixed;
  if (fresh || stage.inherited->guards_size() != vma.guards_size())
    for (const schema::GuardRange& range : vma.guards()) TRY(guard(range));
  if ((fresh && !vma.name().empty()) || (!fresh && stage.inherited->name() != vma.name()))
    set_name(vma);
  return {};
}

// A kernel without guard regions gets pages without access: the same to whoever touches them.
Result<> Stager::guard(const schema::GuardRange& range) {
  const auto size = static_cast<size_t>(range.end() - range.start());
  Result<int> installed =
      SYSCALL(::madvise(at(range.start()), size, kGuardInstall), "install guard pages");
  if (installed.ok()) return {};
  if (installed.error().os_error() != EINVAL) return installed.take_error();
  return protect(at(range.start()), size, PROT_NONE);
}

// Best effort: kernels may be built without names.
void Stager::set_name(const schema::Vma& vma) const {
  if (!is_private(vma) && vma.kind() != schema::VMA_SHMEM) return;
  const char* name = vma.name().empty() ? nullptr : vma.name().c_str();
  (void)::prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, at(vma.start()), vma.end() - vma.start(), name);
}

}  // namespace

Result<> StagedMemory::stage(const StageRequest& request, const FileOf& file_of) {
  return Stager(request, file_of).run();
}

Result<> StagedMemory::stage(const StageRequest& request, FileRestorer& files) {
  return stage(request, [&files](uint32_t file_id) { return files.opened(file_id); });
}

}  // namespace ncr
