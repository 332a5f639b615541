// The address space of a frozen task as a record: VMAs with the files and shared memory objects
// behind them.
#pragma once

#include <map>
#include <tuple>

#include "engine/memory/shared_memory_table.h"
#include "engine/memory/vma_table.h"
#include "engine/resources/file_table.h"
#include "task.pb.h"

namespace ncr {

class MemoryDump {
 public:
  MemoryDump(FileTable& files, SharedMemoryTable& shared) : files_(files), shared_(shared) {}

  // The VMAs of a stopped task into *record; what cannot be restored goes to `blockers`.
  // Touches nothing in the target.
  Result<> look(const Task& task, const std::vector<VmaLine>& lines, schema::Task* record,
                Blockers& blockers);

 private:
  Result<> add_backing(const Task& task, const VmaLine& line, schema::Vma* vma, Blockers& blockers);
  Result<uint32_t> mapped_file(const Task& task, const VmaLine& line);
  Result<uint64_t> shared_object(const Task& task, const VmaLine& line);

  FileTable& files_;
  SharedMemoryTable& shared_;
  // Libraries are mapped by every task, several times each: (device, inode, access mode) -> file
  // id.
  std::map<std::tuple<uint64_t, uint64_t, uint32_t>, uint32_t> known_files_;
  std::map<std::pair<uint64_t, uint64_t>, uint64_t> known_objects_;
};

}  // namespace ncr
