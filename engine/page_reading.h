// The pages of a frozen tree, read on the side: that needs no tracer, and neither looking at tasks
// nor asking them needs the pages.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <vector>

#include "engine/base/quiet_thread.h"
#include "engine/memory/page_store.h"
#include "engine/memory/shared_memory_table.h"
#include "engine/tree/inner_pids.h"
#include "memory.pb.h"
#include "task.pb.h"

namespace ncr {

// Declared after what it works on: whoever leaves without finish() has it stop.
class PageReading {
 public:
  PageReading(PageStore& store, SharedMemoryTable& shared_memory,
              std::vector<schema::PageMap>& maps);
  PageReading(const PageReading&) = delete;
  ~PageReading();

  // `pids`: as the parent image has them. `lazily`: PageStoreOptions::remote is set.
  void begin(size_t tasks, InnerPids pids, bool lazily);
  // The next task's VMAs are known: its pages may be read, unless asynchronous I/O may still write
  // to them. From then on only vma.guards is written to by others.
  void offer(schema::Task* record);
  // Every task was offered, every object is in the table, and nothing writes to them any more.
  void offer_rest();
  // After offer_rest(): waits until all is read.
  Result<> finish();

 private:
  struct MemoryOf {
    TaskPages task;
    std::string comm;
    schema::Memory* memory;  // null: a zombie's
  };

  void let_read(size_t offered);
  bool await(size_t tasks);  // false: abandoned
  Result<> read();

  PageStore& store_;
  SharedMemoryTable& shared_memory_;
  std::vector<schema::PageMap>& maps_;
  InnerPids pids_;
  bool lazily_ = false;
  std::vector<MemoryOf> memories_;  // never moves
  std::mutex mutex_;
  std::condition_variable offered_more_;
  size_t offered_ = 0;  // one more than there are tasks: the objects too
  bool begun_ = false;
  bool held_back_ = false;
  bool abandoned_ = false;
  Result<> result_;
  Errand errand_;  // last: its work uses the others
};

}  // namespace ncr
