// Page tables of a frozen task, seen through /proc/PID/pagemap: PAGEMAP_SCAN (Linux 6.7) walks the
// populated tables only and answers in ranges; reading the file gives 8 bytes for every page of the
// range, also where nothing is mapped. Userspace cannot see from a range alone whether a page was
// copied from a file or belongs to it: the kernel calls a page "file" until a write made a private
// copy of it.
#include "engine/memory/page_runs.h"

#include <sys/ioctl.h>

#include <algorithm>
#include <memory>

#include "engine/memory/page_table.h"

namespace ncr {
namespace {

// include/uapi/linux/fs.h of Linux 6.17; older headers lack it.
struct ScanArgument {
  uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
  uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
struct ScanRegion {
  uint64_t start, end, categories;
};
constexpr unsigned long kPagemapScan = _IOWR('f', 16, ScanArgument);
constexpr uint64_t kIsFile = 1 << 2, kIsPresent = 1 << 3, kIsSwapped = 1 << 4, kIsZero = 1 << 5,
                   kIsGuard = 1 << 8;

// Droppable pages are those that nobody must rely on, and may be secrets.
bool has_private_pages(const schema::Vma& vma) {
  if (vma.droppable()) return false;
  return vma.kind() == schema::VMA_ANONYMOUS || vma.kind() == schema::VMA_FILE_PRIVATE;
}

// From the first private VMA to the last: the kernel refuses a range that reaches into [vsyscall].
AddressRun private_span(const schema::Memory& memory) {
  uint64_t start = 0, end = 0;
  for (const schema::Vma& vma : memory.vmas()) {
    if (!has_private_pages(vma)) continue;
    if (end == 0) start = vma.start();
    end = vma.end();
  }
  return {start, (end - start) / kPageSize};
}

// Walks the whole address space in a few calls; `found` gets each region, ascending.
template <class F>
Result<> scan(const Fd& pagemap, const schema::Memory& memory, ScanArgument argument, F found) {
  constexpr size_t kRegions = 512;
  auto regions = std::make_unique<ScanRegion[]>(kRegions);
  argument.size = sizeof argument;
  argument.vec = reinterpret_cast<uint64_t>(regions.get());
  argument.vec_len = kRegions;
  AddressRun span = private_span(memory);
  argument.end = span.end();
  for (uint64_t at = span.start; at < argument.end; at = argument.walk_end) {
    argument.start = at;
    int count = TRY(SYSCALL(::ioctl(pagemap.get(), kPagemapScan, &argument), "PAGEMAP_SCAN"));
    for (int i = 0; i < count; i++) found(regions[i]);
    if (argument.walk_end <= at) break;
  }
  return {};
}

// Hands on the parts of ascending ranges that lie in private VMAs.
class PrivateParts {
 public:
  explicit PrivateParts(const schema::Memory& memory) : memory_(memory) {}

  template <class F>
  void clip(uint64_t start, uint64_t end, F part) {
    while (next_ < memory_.vmas_size() && memory_.vmas(next_).end() <= start) next_++;
    for (int i = next_; i < memory_.vmas_size() && memory_.vmas(i).start() < end; i++) {
      if (!has_private_pages(memory_.vmas(i))) continue;
      part(i, std::max(start, memory_.vmas(i).start()), std::min(end, memory_.vmas(i).end()));
    }
  }

 private:
  const schema::Memory& memory_;
  int next_ = 0;
};

// kSystem with ENOTTY or EINVAL: this kernel has no such call, or does not know guard pages.
Result<PrivatePages> scan_private_pages(const Fd& pagemap, const schema::Memory& memory,
                                        uint64_t guard) {
  ScanArgument argument{};
  argument.category_inverted = argument.category_mask = kIsFile | kIsZero;
  argument.category_anyof_mask = kIsPresent | kIsSwapped;  // guard pages count as swapped
  // Regions are cut where an asked-for category changes: as few of them as can be.
  argument.return_mask = guard != 0 ? guard : kIsFile;
  PrivatePages found;
  PrivateParts parts(memory);
  TRY(scan(pagemap, memory, argument, [&](const ScanRegion& region) {
    RunSet* runs = (region.categories & guard) != 0 ? &found.guards : &found.pages;
    parts.clip(region.start, region.end,
               [&](int, uint64_t from, uint64_t to) { append(runs, from, to); });
  }));
  return found;
}

bool too_old(const Error& error) {
  return error.os_error() == ENOTTY || error.os_error() == EINVAL;
}

}  // namespace

Result<PrivatePages> find_private_pages(const Fd& pagemap, const schema::Memory& memory,
                                        PageScan how) {
  if (how == PageScan::kBest) {
    for (uint64_t guard : {kIsGuard, uint64_t{0}}) {
      Result<PrivatePages> found = scan_private_pages(pagemap, memory, guard);
      if (found.ok() || !too_old(found.error())) return found;
    }
  }
  RunSet all;
  for (const schema::Vma& vma : memory.vmas()) {
    if (has_private_pages(vma)) append(&all, vma.start(), vma.end());
  }
  PrivatePages found;
  TRY(read_entries(pagemap, all, [&](uint64_t address, PageEntry entry) {
    if ((!entry.present() && !entry.swapped()) || entry.file()) return;
    append(entry.guard() ? &found.guards : &found.pages, address, address + kPageSize);
  }));
  return found;
}

void note_guards(const RunSet& guards, schema::Memory* memory) {
  PrivateParts parts(*memory);
  for (const AddressRun& run : guards) {
    parts.clip(run.start, run.end(), [&](int i, uint64_t from, uint64_t to) {
      schema::GuardRange* guard = memory->mutable_vmas(i)->add_guards();
      guard->set_start(from);
      guard->set_end(to);
    });
  }
}

}  // namespace ncr
