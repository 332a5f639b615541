#include "engine/memory/staging_area.h"

#include <sys/mman.h>

#include <algorithm>

#include "engine/base/ids.h"

namespace ncr {
namespace {

constexpr uint64_t kHugePage = 2 << 20;

}  // namespace

// Huge pages make one fault of 512. The first of them is touched now: it holds all of a small
// process, whose stall is short enough for a fault to be seen in it.
StagingArea::StagingArea(uint64_t capacity) {
  if (capacity == 0) return;
  void* area = ::mmap(nullptr, capacity, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (area == MAP_FAILED) return;
  base_ = static_cast<char*>(area);
  capacity_ = capacity;
  const uint64_t address = reinterpret_cast<uint64_t>(base_);
  const uint64_t skip = (kHugePage - address % kHugePage) % kHugePage;
  if (skip >= capacity) return;
  used_ = skip;
  (void)::madvise(base_ + skip, capacity - skip, MADV_HUGEPAGE);
  for (uint64_t at = skip; at < std::min(skip + kHugePage, capacity); at += kPageSize)
    *static_cast<volatile char*>(base_ + at) = 0;
}

StagingArea::~StagingArea() {
  if (base_ != nullptr) ::munmap(base_, capacity_);
}

char* StagingArea::take(uint64_t size) {
  uint64_t used = used_.load();
  do {
    if (size > capacity_ - used) return nullptr;
  } while (!used_.compare_exchange_weak(used, used + size));
  return base_ + used;
}

}  // namespace ncr
