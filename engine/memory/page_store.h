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
#include "engine/memory/page_output.h"
#include "engine/memory/run_set.h"
#include "memory.pb.h"
#include "task.pb.h"

namespace ncr {

class ParentPages;

struct PageStoreStats {
  uint64_t pages_scanned = 0;
  uint64_t pages_written = 0;
  uint64_t pages_zero = 0;
  uint64_t pages_shared = 0;  // not written again: another task's page is the same physical page
  uint64_t pages_parent = 0;  // not written again: the parent image has them
  uint64_t pages_lazy = 0;    // not written: the dump serves them
  // Of these, pages of shared memory objects:
  uint64_t shpages_scanned = 0;
  uint64_t shpages_written = 0;
  uint64_t shpages_parent = 0;
};

// Whether the tasks stand still while their pages are read.
enum class TasksMeanwhile { kStandStill, kRun };

struct PageStoreOptions {
  unsigned threads = 0;  // 0: one per CPU, 4 at most
  // Up to so many bytes of pages are kept in memory until finish(), so that the tree need not stand
  // still while they are written.
  uint64_t staging_bytes = 0;
  const ParentPages* parent = nullptr;  // pages as they are there are not stored
  bool keep_hashes = false;             // for the next image that has this one as its parent
  uint64_t seed = 0;                    // of the checksums that are kept or compared
  TasksMeanwhile tasks = TasksMeanwhile::kStandStill;
  std::unique_ptr<PageOutput> output;  // null: a file of the image
  std::unique_ptr<PageOutput> remote;  // not null: gets what a lazy restore may ask for later
};

struct TaskPages {
  pid_t pid = 0;
  int32_t inner_pid = 0;  // as the parent image knows it; 0: the same
  RunSet lazy = {};       // with PageStoreOptions::remote: what goes there
};

class [[nodiscard]] PageStore {
 public:
  static Result<PageStore> create(ImageDir& images, PageStoreOptions options);
  PageStore(PageStore&&) noexcept;
  ~PageStore();  // stops the pump

  // All present private pages of `pid` in these VMAs -> *map. The task must stay frozen until
  // read_all(). Work is queued; map is filled in by finish(). Pages that are physically those of a
  // task added earlier, at the same address, are stored once.
  // Also fills Vma.guards, which the same look at the page tables finds.
  Result<> add_task(const TaskPages& task, schema::Memory* memory, schema::PageMap* map);
  Result<> add_task(pid_t pid, schema::Memory* memory, schema::PageMap* map) {
    return add_task(TaskPages{pid}, memory, map);
  }
  // The present pages of a shared memory object, read through one of its mappings'
  // /proc/PID/map_files or descriptor. The parent image knows it as map->shmem_id().
  Result<> add_shared_memory(const Fd& object, uint64_t size, schema::PageMap* map);
  // Nobody wants the pages any more: what is not read yet is not read. From any thread.
  void abandon();
  // Reads what is queued now, beside whoever else does. From any thread; errors are read_all()'s.
  void help();
  // Waits until every page was read: the tree may run on.
  Result<> read_all();
  // Once, after read_all(): writes what is not written yet; returns the chunk table.
  Result<schema::ChunkTable> finish();
  // After finish(): of the pages in the file, if they were asked for.
  std::vector<schema::PageHashes> take_hashes();
  uint64_t remote_bytes() const;
  PageStoreStats stats() const;

 private:
  struct Impl;
  explicit PageStore(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ncr
