// A BPF iterator is a program attached to nothing but a descriptor that runs it as it is read
// (Documentation/bpf/bpf_iterators.rst; BPF_LINK_CREATE with iter_info of one task since 6.1).
// Userspace cannot know how a kernel numbers vm_flags, hence the comparison at the load. Runs in
// the engine; tasks are not touched.
#include "engine/memory/vma_iterator.h"

#include <fcntl.h>
#include <linux/bpf.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "engine/base/ids.h"
#include "engine/base/sys.h"
#include "engine/memory/vma_iterator_program.h"
#include "engine/memory/vma_record.h"
#include "engine/memory/vma_records.h"
#include "engine/memory/vma_table.h"

namespace ncr {
namespace {

Result<Fd> bpf(bpf_cmd command, bpf_attr& attributes, const char* what) {
  const long fd =
      TRY(SYSCALL(::syscall(SYS_bpf, command, &attributes, sizeof attributes), "%s", what));
  return Fd(static_cast<int>(fd));
}

Result<Fd> open_iterator(const Fd& program, pid_t tid) {
  bpf_iter_link_info which{};
  which.task.tid = static_cast<uint32_t>(tid);
  bpf_attr attributes{};
  attributes.link_create.prog_fd = static_cast<uint32_t>(program.get());
  attributes.link_create.attach_type = BPF_TRACE_ITER;
  attributes.link_create.iter_info = reinterpret_cast<uint64_t>(&which);
  attributes.link_create.iter_info_len = sizeof which;
  Fd link = TRY(bpf(BPF_LINK_CREATE, attributes, "BPF_LINK_CREATE"));
  attributes = {};
  attributes.iter_create.link_fd = static_cast<uint32_t>(link.get());
  return bpf(BPF_ITER_CREATE, attributes, "BPF_ITER_CREATE");
}

// A read gives whole records, as many as the kernel's buffer holds. At the end of more than one
// buffer the iterator of a single task begins the last one again, for ever (seen in 6.18).
Result<std::string> read_all(const Fd& iterator) {
  constexpr size_t kKernelsBuffer = 32 << 10;  // kernel/bpf/bpf_iter.c, 5.8 to 6.18
  std::string records;
  char buffer[kKernelsBuffer];
  uint64_t seen_up_to = 0;
  for (;;) {
    const auto got = static_cast<size_t>(
        TRY(SYSCALL(::read(iterator.get(), buffer, sizeof buffer), "read the iterator of VMAs")));
    ncr_vma_record first{};
    std::memcpy(&first, buffer, std::min(got, sizeof first));
    if (got == 0 || first.start < seen_up_to) return records;
    seen_up_to = first.end;
    records.append(buffer, got);
  }
}

// Mappings of our own, one for each flag that is told apart. What a kernel does not do, it need
// not tell either.
class Samples {
 public:
  Samples() {
    constexpr int kWays[] = {MADV_DONTFORK,  MADV_WIPEONFORK, MADV_HUGEPAGE,   MADV_NOHUGEPAGE,
                             MADV_MERGEABLE, MADV_DONTDUMP,   MADV_SEQUENTIAL, MADV_RANDOM};
    constexpr int kAnonymous = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    base_ = static_cast<char*>(
        ::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (base_ == MAP_FAILED) return;
    for (int way : kWays) (void)::madvise(next(), kPageSize, way);
    (void)::mlock(next(), kPageSize);
    (void)::syscall(SYS_mlock2, next(), kPageSize, MLOCK_ONFAULT);
    map(PROT_READ | PROT_WRITE, kAnonymous | MAP_NORESERVE, -1);
    map(PROT_READ | PROT_WRITE, kAnonymous | MAP_GROWSDOWN, -1);
    map(PROT_NONE, kAnonymous, -1);
    map(PROT_READ | PROT_EXEC, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1);
    Result<Fd> file = sys::open("/proc/self/exe", O_RDONLY);
    if (file.ok()) map(PROT_READ, MAP_SHARED | MAP_FIXED, file.value().get());
  }
  Samples(const Samples&) = delete;
  ~Samples() {
    if (base_ != MAP_FAILED) ::munmap(base_, kSize);
  }

  bool contains(const VmaLine& line) const {
    const auto start = reinterpret_cast<uint64_t>(base_);
    return line.vma.end() > start && line.vma.start() < start + kSize;
  }

 private:
  static constexpr size_t kSize = 64 * kPageSize;

  // Not the one beside the last, so that none are merged.
  char* next() { return base_ + (used_ += 2) * kPageSize; }
  void map(int prot, int flags, int fd) { (void)::mmap(next(), kPageSize, prot, flags, fd, 0); }

  char* base_ = nullptr;
  size_t used_ = 0;
};

bool same(const VmaLine& a, const VmaLine& b) {
  return a.vma.SerializeAsString() == b.vma.SerializeAsString() && a.device == b.device &&
         a.inode == b.inode && a.path == b.path && a.deleted == b.deleted &&
         a.may_write == b.may_write && a.unsupported == b.unsupported;
}

}  // namespace

Result<VmaIterator> VmaIterator::load() {
  const int program = ncr_load_vma_iterator();
  if (program < 0) return Error::system(-program, "load the BPF program that reads VMAs");
  VmaIterator iterator{Fd(program)};
  TRY(iterator.agrees_with_smaps());
  return iterator;
}

Result<> VmaIterator::agrees_with_smaps() const {
  const Samples samples;
  std::optional<std::vector<VmaLine>> told = TRY(read(static_cast<pid_t>(::gettid())));
  if (!told) return Error::unsupported("this process has mappings that the iterator cannot tell");
  const std::string smaps = TRY(sys::read_file("/proc/thread-self/smaps"));
  std::vector<VmaLine> known = TRY(parse_smaps(smaps));
  const auto others = [&](const VmaLine& line) { return !samples.contains(line); };
  std::erase_if(*told, others);
  std::erase_if(known, others);
  if (known.empty() || !std::equal(known.begin(), known.end(), told->begin(), told->end(), same))
    return Error::unsupported("this kernel numbers the flags of mappings otherwise");
  return {};
}

Result<std::optional<std::vector<VmaLine>>> VmaIterator::read(pid_t pid) const {
  Fd iterator = TRY(open_iterator(program_, pid));
  const std::string records = TRY(read_all(iterator));
  if (records.empty()) return Error::gone(strf("process %d is gone", pid));
  return read_vma_records(records);
}

}  // namespace ncr
