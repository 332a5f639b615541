// Huge pages come from a pool for each size (/sys/kernel/mm/hugepages); a file on hugetlbfs, with
// or without a name, lies behind every mapping of them (hstate_file()). They are mapped, read and
// moved as other pages are, but only as a whole: no page of 4 KiB can be dropped alone. Runs in the
// engine, at dump and before the first fork of a restore.
#include "engine/memory/huge_pages.h"

#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>

#include <bit>
#include <set>

#include "engine/base/ids.h"
#include "engine/base/undo.h"

namespace ncr {
namespace {

constexpr int kSizeShift = 26;  // MAP_HUGE_SHIFT, MFD_HUGE_SHIFT, SHM_HUGE_SHIFT

// Without a reserve, mappings take nothing from the pool.
void* map_unreserved(uint32_t shift) {
  return ::mmap(nullptr, size_t{1} << shift, PROT_NONE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | huge_page_flags(MAP_HUGETLB, shift),
                -1, 0);
}

Result<> check_moves(uint32_t shift) {
  const size_t size = size_t{1} << shift;
  const unsigned long kib = static_cast<unsigned long>(size >> 10);
  void* to = map_unreserved(shift);
  void* from = map_unreserved(shift);
  Undo unmap([&] {
    for (void* at : {to, from})
      if (at != MAP_FAILED) ::munmap(at, size);
  });
  if (to == MAP_FAILED || from == MAP_FAILED)
    return Error::unsupported(strf("this machine has no huge pages of %lu KiB", kib));
  void* moved = ::mremap(from, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, to);
  if (moved == MAP_FAILED)
    return Error::unsupported(strf(
        "this kernel cannot move mappings of huge pages of %lu KiB, as Linux can since 5.16", kib));
  from = MAP_FAILED;
  return {};
}

}  // namespace

Result<uint32_t> huge_page_shift_of(const Fd& file) {
  struct statfs system {};
  TRY(SYSCALL(::fstatfs(file.get(), &system), "fstatfs"));
  if (system.f_type != HUGETLBFS_MAGIC) return 0;
  return static_cast<uint32_t>(std::countr_zero(static_cast<uint64_t>(system.f_bsize)));
}

uint64_t in_whole_pages(uint64_t size, uint32_t shift) {
  const uint64_t page = shift == 0 ? kPageSize : uint64_t{1} << shift;
  return (size + page - 1) / page * page;
}

int huge_page_flags(int hugetlb, uint32_t shift) {
  return shift == 0 ? 0 : hugetlb | static_cast<int>(shift << kSizeShift);
}

Result<> check_huge_pages(const Image& image) {
  std::set<uint32_t> sizes;
  for (const schema::Task& task : image.tasks)
    for (const schema::Vma& vma : task.memory().vmas())
      if (vma.huge_page_shift() != 0) sizes.insert(vma.huge_page_shift());
  for (uint32_t shift : sizes) TRY(check_moves(shift));
  return {};
}

}  // namespace ncr
