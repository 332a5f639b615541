// The memory of a task being born, at a constant shift from its final addresses (docs/adr/0003),
// while our own code still runs in the task.
#pragma once

#include <cstdint>
#include <functional>

#include "engine/image/image_reader.h"
#include "engine/resources/shared_memory/shared_memory.h"

namespace ncr {

class FileRestorer;

// Runs in the coordinator: one shift for the whole tree. kUnsupported: the tree's mappings leave no
// room.
Result<uint64_t> choose_shift(const Image& image);

// Where [address] of the image is staged. Addresses wrap around inside user space, so a stack at
// the top and a program at the bottom share a shift.
uint64_t staged_address(uint64_t address, uint64_t shift);

struct StageRequest {
  const Image& image;
  const schema::Task& task;
  const schema::Task*
      parent;  // whose staged memory this process inherited by fork; null: nothing is staged yet
  uint64_t shift;
  const SharedMemoryObjects& shared;
  unsigned threads;  // that fill; 0: as many as CPUs, 4 at most
};

class StagedMemory {
 public:
  // Runs in the child, single-threaded before and after, before it forks its own children and
  // before descriptors are installed.
  static Result<> stage(const StageRequest& request, FileRestorer& files);

  // The same, with the descriptor of a mapped file given by a function.
  using FileOf = std::function<Result<int>(uint32_t file_id)>;
  static Result<> stage(const StageRequest& request, const FileOf& file_of);
};

}  // namespace ncr
