// pages-1.img being filled: several threads copy runs of target memory into it (the page pump),
// zero pages and pages already stored are left out, each chunk is checksummed on the way.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "engine/base/ids.h"
#include "engine/base/sys.h"
#include "engine/image/image_dir.h"
#include "memory.pb.h"
#include "task.pb.h"

namespace ncr {

struct PageStoreStats {
  uint64_t pages_scanned = 0;
  uint64_t pages_written = 0;
  uint64_t pages_zero = 0;
  uint64_t pages_shared = 0;  // not written again: another task's page is the same physical page
};

class [[nodiscard]] PageStore {
 public:
  // Up to `staging_bytes` of pages are kept in memory until finish(), so that the tree need not
  // stand still while they are written.
  static Result<PageStore> create(ImageDir& images, unsigned threads, uint64_t staging_bytes);
  PageStore(PageStore&&) noexcept;
  ~PageStore();  // stops the pump

  // All present private pages of `pid` in these VMAs -> *map. The task must stay frozen until
  // read_all(). Work is queued; map is filled in by finish(). Pages that are physically those of a
  // task added earlier, at the same address, are stored once.
  // Also fills Vma.guards, which the same look at the page tables finds.
  Result<> add_task(pid_t pid, schema::Memory* memory, schema::PageMap* map);
  // The present pages of a shared memory object, read through one of its mappings'
  // /proc/PID/map_files or descriptor.
  Result<> add_shared_memory(const Fd& object, uint64_t size, schema::PageMap* map);
  // Nobody wants the pages any more: what is not read yet is not read. From any thread.
  void abandon();
  // Waits until every page was read: the tree may run on.
  Result<> read_all();
  // Once, after read_all(): writes what is not written yet; returns the chunk table.
  Result<schema::ChunkTable> finish();
  PageStoreStats stats() const;

 private:
  struct Impl;
  explicit PageStore(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ncr
