// Runs in the child. Nothing in the area is a file mapping, so the executable of the process can be
// changed while the area is there.
#include "engine/memory/restorer_area.h"

#include <sys/mman.h>

#include <cinttypes>
#include <cstring>

#include "engine/base/ids.h"
#include "engine/base/sys.h"

extern "C" {
[[gnu::visibility("hidden")]] extern const char restorer_blob_start[];
[[gnu::visibility("hidden")]] extern const char restorer_blob_end[];
}

namespace ncr {
namespace {

constexpr uint64_t kAlignment = 16;

uint64_t blob_size() { return static_cast<uint64_t>(restorer_blob_end - restorer_blob_start); }

char* pointer(uint64_t address) { return reinterpret_cast<char*>(address); }

}  // namespace

uint64_t RestorerArea::size_for(uint64_t payload, uint64_t pieces, uint64_t threads,
                                const SyncPage& sync) {
  return page_ceil(blob_size()) + page_ceil(payload + pieces * kAlignment) + threads * kStackSize +
         sync.size();
}

Result<RestorerArea> RestorerArea::create(uint64_t address, uint64_t size, const SyncPage& sync) {
  const uint64_t text = page_ceil(blob_size());
  const uint64_t own = size - sync.size();
  void* mapped = ::mmap(pointer(address), own, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE, -1, 0);
  TRY(SYSCALL(mapped == MAP_FAILED ? -1 : 0, "mmap of the restorer's area at %#" PRIx64, address));
  std::memcpy(mapped, restorer_blob_start, blob_size());
  TRY(SYSCALL(::mprotect(mapped, text, PROT_READ | PROT_EXEC), "mprotect of the restorer's code"));
  // An old size of 0 makes a second mapping of the same shared memory.
  void* shared = ::mremap(&sync.header(), 0, sync.size(), MREMAP_MAYMOVE | MREMAP_FIXED,
                          pointer(address + own));
  TRY(SYSCALL(shared == MAP_FAILED ? -1 : 0, "mremap of the shared page"));
  return RestorerArea(address, size, address + text, address + own);
}

uint64_t RestorerArea::put(const void* data, size_t size) {
  const uint64_t at = next_;
  if (size > 0) std::memcpy(pointer(at), data, size);
  next_ = (next_ + size + kAlignment - 1) & ~(kAlignment - 1);
  return at;
}

uint64_t RestorerArea::take_stack() {
  stacks_ -= kStackSize;
  return stacks_;
}

}  // namespace ncr
