// A segment (struct shmid_kernel) is a file of the kernel's own tmpfs, or of hugetlbfs, with the id
// as inode number: so its bytes are those of a shared memory object, read through a mapping's link
// in /proc/self/map_files. It stays when nobody is attached, unless it was marked for removal: then
// it goes with its last attachment, and its key is gone at once. Runs in the engine's thread in the
// namespace, and in the root task.
#include "engine/resources/ipc_namespace/segments.h"

#include <fcntl.h>
#include <sys/shm.h>

#include <cinttypes>
#include <string_view>

#include "engine/base/ids.h"
#include "engine/base/undo.h"
#include "engine/memory/huge_pages.h"
#include "engine/memory/page_fill.h"
#include "engine/resources/ipc_namespace/ipc_object.h"

#ifndef SHM_DEST
#define SHM_DEST 01000
#define SHM_LOCKED 02000
#endif

namespace ncr::ipc_namespace {
namespace {

class Attached {
 public:
  static Result<Attached> attach(int id, int flags) {
    void* at = ::shmat(id, nullptr, flags);
    TRY(SYSCALL(at == reinterpret_cast<void*>(-1) ? -1 : 0, "shmat %d", id));
    return Attached(at);
  }
  Attached(Attached&& other) noexcept : at_(std::exchange(other.at_, nullptr)) {}
  Attached& operator=(Attached&&) = delete;
  ~Attached() {
    if (at_ != nullptr) ::shmdt(at_);
  }
  uint64_t address() const { return reinterpret_cast<uint64_t>(at_); }

 private:
  explicit Attached(void* at) : at_(at) {}
  void* at_;
};

Result<Fd> open_file_of(const Attached& mapping, uint64_t size, uint32_t shift) {
  const uint64_t end = mapping.address() + in_whole_pages(size, shift);
  const std::string path =
      strf("/proc/self/map_files/%" PRIx64 "-%" PRIx64, mapping.address(), end);
  return sys::open(path.c_str(), O_RDONLY);
}

Result<> write_text(const char* path, std::string_view text) {
  Fd file = TRY(sys::open(path, O_WRONLY));
  return sys::write_all(file, text.data(), text.size());
}

// A segment of huge pages ends at a multiple of them.
Result<Fd> open_content(const Attached& mapping, schema::SharedSegment* segment) {
  Result<Fd> plain = open_file_of(mapping, segment->size(), 0);
  for (uint32_t shift = 16; !plain.ok() && shift <= 34; shift++)
    plain = open_file_of(mapping, segment->size(), shift);
  Fd file = TRY(std::move(plain));
  segment->set_huge_page_shift(TRY(huge_page_shift_of(file)));
  return file;
}

Result<> fill(const schema::SharedSegment& segment, const Image& image, unsigned threads) {
  auto pages = image.shmem_pages.find(segment.content());
  if (pages == image.shmem_pages.end() || pages->second.runs().empty()) return {};
  Attached window = TRY(Attached::attach(segment.object().id(), 0));
  const uint64_t end = in_whole_pages(segment.size(), segment.huge_page_shift());
  std::vector<FillSpan> spans;
  for (const schema::PageRun& run : pages->second.runs()) {
    if (run.place_case() != schema::PageRun::kStored) continue;
    const uint64_t size = run.pages() * kPageSize;
    if (run.start() > end || size > end - run.start())
      return Error::malformed("its pages lie beyond its end");
    spans.push_back({window.address() + run.start(), size, run.stored(), false});
  }
  return fill_pages(image.pages, std::move(spans), threads);
}

}  // namespace

Result<> dump_segment(int id, uint64_t namespace_inode, SharedMemoryTable& content,
                      schema::SharedSegment* segment) {
  shmid_ds status{};
  TRY(SYSCALL(::shmctl(id, IPC_STAT, &status), "shmctl IPC_STAT %d", id));
  describe_object(id, status.shm_perm, segment->mutable_object());
  segment->set_size(status.shm_segsz);
  segment->set_removed((status.shm_perm.mode & SHM_DEST) != 0);
  segment->set_locked((status.shm_perm.mode & SHM_LOCKED) != 0);
  Attached mapping = TRY(Attached::attach(id, SHM_RDONLY));
  Fd file = TRY(open_content(mapping, segment));
  schema::SharedMemory description;
  description.set_sysv_namespace(namespace_inode);
  segment->set_content(TRY(content.add(std::move(file), description)));
  return {};
}

Result<> dump_segments(uint64_t namespace_inode, SharedMemoryTable& content,
                       schema::IpcNamespace* record) {
  shm_info usage{};
  const int last =
      TRY(SYSCALL(::shmctl(0, SHM_INFO, reinterpret_cast<shmid_ds*>(&usage)), "shmctl SHM_INFO"));
  const std::vector<int> ids = ids_up_to(last, [](int index) {
    shmid_ds status{};
    return ::shmctl(index, SHM_STAT, &status);
  });
  // Where segments go with their last attachment (shm_rmid_forced), ours must not be that.
  constexpr const char* kForced = "/proc/sys/kernel/shm_rmid_forced";
  const std::string forced = TRY(sys::read_file(kForced));
  const bool goes = !ids.empty() && forced.starts_with("1");
  if (goes) TRY(write_text(kForced, "0"));
  Undo put_back([&] { (void)write_text(kForced, "1"); });
  if (!goes) put_back.cancel();
  for (int id : ids)
    TRY_WHILE(dump_segment(id, namespace_inode, content, record->add_segments()), "segment %d", id);
  return {};
}

Result<> make_segment(const schema::SharedSegment& segment, const Image& image, unsigned threads) {
  if (segment.huge_page_shift() > kMostHugePageShift)
    return Error::malformed("its pages are too large");
  const int huge = huge_page_flags(SHM_HUGETLB, segment.huge_page_shift());
  TRY(make_object("shm", segment.object(), [&](int key, int flags) {
    return SYSCALL(::shmget(key, segment.size(), flags | huge), "shmget of %" PRIu64 " bytes",
                   segment.size());
  }));
  TRY(fill(segment, image, threads));
  const int id = segment.object().id();
  shmid_ds status{};
  set_owner(segment.object(), &status.shm_perm);
  TRY(SYSCALL(::shmctl(id, IPC_SET, &status), "shmctl IPC_SET"));
  if (segment.locked()) TRY(SYSCALL(::shmctl(id, SHM_LOCK, nullptr), "shmctl SHM_LOCK"));
  return {};
}

Result<> mark_removed(const schema::SharedSegment& segment) {
  TRY(SYSCALL(::shmctl(segment.object().id(), IPC_RMID, nullptr), "shmctl IPC_RMID"));
  return {};
}

}  // namespace ncr::ipc_namespace
