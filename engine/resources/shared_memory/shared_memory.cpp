// Runs in the coordinator, before the first fork. A shared memory object is an inode of the
// kernel's own tmpfs; its pages belong to it and not to any task, so it is filled once. A memfd is
// made as one. Anonymous shared memory is made by mapping it, so that the restored mappings look as
// they did ("/dev/zero (deleted)"), and opened through /proc/self/map_files; where that is not
// allowed, a memfd does the same service under another name.
#include "engine/resources/shared_memory/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>

#include "engine/base/ids.h"
#include "engine/base/procfs.h"
#include "engine/memory/huge_pages.h"
#include "engine/memory/page_fill.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

namespace ncr {
namespace {

// A writable shared mapping of the whole object while it is filled.
class Window {
 public:
  static Result<Window> map(int fd, uint64_t size, int more_flags = 0) {
    const int flags = MAP_SHARED | MAP_NORESERVE | more_flags;
    void* mapped = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, flags, fd, 0);
    TRY(SYSCALL(mapped == MAP_FAILED ? -1 : 0, "mmap of %" PRIu64 " bytes", size));
    return Window(mapped, size);
  }
  Window(Window&& other) noexcept : at_(std::exchange(other.at_, nullptr)), size_(other.size_) {}
  Window& operator=(Window&&) = delete;
  ~Window() {
    if (at_ != nullptr) ::munmap(at_, size_);
  }
  uint64_t address() const { return reinterpret_cast<uint64_t>(at_); }
  uint64_t end() const { return address() + size_; }

 private:
  Window(void* at, uint64_t size) : at_(at), size_(size) {}
  void* at_;
  uint64_t size_;
};

Result<Fd> make_memfd(const schema::SharedMemory& record) {
  const int huge = huge_page_flags(MFD_HUGETLB, record.huge_page_shift());
  const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING | static_cast<unsigned>(huge);
  Fd fd(TRY(SYSCALL(::memfd_create(record.name().c_str(), flags), "memfd_create %s",
                    record.name().c_str())));
  TRY(SYSCALL(::ftruncate(fd.get(), static_cast<off_t>(record.size())), "ftruncate of a memfd"));
  if (record.mode() != 0)
    TRY(SYSCALL(::fchmod(fd.get(), record.mode() & 07777), "fchmod of a memfd"));
  return fd;
}

Result<Fd> make_anonymous(const schema::SharedMemory& record) {
  Window window =
      TRY(Window::map(-1, page_ceil(record.size()),
                      MAP_ANONYMOUS | huge_page_flags(MAP_HUGETLB, record.huge_page_shift())));
  const std::string path =
      strf("/proc/self/map_files/%" PRIx64 "-%" PRIx64, window.address(), window.end());
  Result<Fd> opened = sys::open(path.c_str(), O_RDWR);
  return opened.ok() ? std::move(opened) : make_memfd(record);
}

Result<Fd> make(const schema::SharedMemory& record) {
  return record.memfd() ? make_memfd(record) : make_anonymous(record);
}

Result<> fill(const Fd& fd, const schema::SharedMemory& record, const Image& image,
              unsigned threads) {
  auto pages = image.shmem_pages.find(record.id());
  if (pages == image.shmem_pages.end() || pages->second.runs().empty()) return {};
  Window window = TRY(Window::map(fd.get(), page_ceil(record.size())));
  std::vector<FillSpan> spans;
  for (const schema::PageRun& run : pages->second.runs()) {
    if (run.zero()) continue;
    spans.push_back({window.address() + run.start(), run.pages() * kPageSize, run.stored(), false});
  }
  return fill_pages(image.pages, std::move(spans), threads);
}

// Seals that do not hinder the mappings of the tasks.
uint32_t early_seals(uint32_t seals) {
  if ((seals & F_SEAL_FUTURE_WRITE) != 0)
    return seals & ~uint32_t{F_SEAL_FUTURE_WRITE | F_SEAL_SEAL};
  return seals;
}

Result<> add_seals(int fd, uint32_t seals) {
  // Every memfd starts with F_SEAL_SEAL alone unless sealing was allowed, which it always is here.
  if (seals == 0) return {};
  TRY(SYSCALL(::fcntl(fd, F_ADD_SEALS, seals), "F_ADD_SEALS %#x", seals));
  return {};
}

}  // namespace

Result<SharedMemoryObjects> SharedMemoryObjects::create(const Image& image, int fd_base,
                                                        unsigned threads) {
  SharedMemoryObjects objects;
  for (const schema::SharedMemory& record : image.shared_memory) {
    if (record.unlinked_file() || record.sysv_namespace() != 0) continue;
    const std::string what = strf("shared memory %" PRIu64, record.id());
    Fd made = TRY_WHILE(make(record), "%s", what.c_str());
    Fd fd(TRY(SYSCALL(::fcntl(made.get(), F_DUPFD_CLOEXEC, fd_base), "fcntl F_DUPFD_CLOEXEC")));
    TRY_WHILE(fill(fd, record, image, threads), "%s", what.c_str());
    if (record.memfd())
      TRY_WHILE(add_seals(fd.get(), early_seals(record.seals())), "%s", what.c_str());
    objects.objects_.emplace(record.id(), std::move(fd));
  }
  return objects;
}

Result<int> SharedMemoryObjects::descriptor(uint64_t shmem_id) const {
  auto found = objects_.find(shmem_id);
  if (found == objects_.end())
    return Error::malformed(strf("shared memory %" PRIu64 " is not in the image", shmem_id));
  return found->second.get();
}

Result<Fd> SharedMemoryObjects::open(uint64_t shmem_id, unsigned flags) const {
  int fd = TRY(descriptor(shmem_id));
  return procfs::open(strf("self/fd/%d", fd), static_cast<int>(flags));
}

Result<> SharedMemoryObjects::seal(const Image& image) const {
  for (const schema::SharedMemory& record : image.shared_memory) {
    if (!record.memfd() || early_seals(record.seals()) == record.seals()) continue;
    int fd = TRY(descriptor(record.id()));
    TRY(add_seals(fd, record.seals()));
  }
  return {};
}

}  // namespace ncr
