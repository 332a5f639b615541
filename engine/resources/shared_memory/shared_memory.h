// Shared memory objects (MAP_SHARED|MAP_ANONYMOUS, memfd), made and filled once by the coordinator
// before the first fork. Mappings and memfd descriptors of any task are then made from the object
// that every child inherits.
#pragma once

#include <map>

#include "engine/base/sys.h"
#include "engine/image/image_reader.h"

namespace ncr {

class SharedMemoryObjects {
 public:
  SharedMemoryObjects() = default;
  // Runs in the coordinator. Descriptors land at fd_base or above (RestorePlan::service_fd_base).
  static Result<SharedMemoryObjects> create(const Image& image, int fd_base, unsigned threads);

  // Read-write descriptor of the object, for mmap. Ours: not to be handed to a task as one of its
  // own.
  Result<int> descriptor(uint64_t shmem_id) const;
  // A new open file description of the object, for a memfd of a task. `flags`: access mode and
  // status flags.
  Result<Fd> open(uint64_t shmem_id, unsigned flags) const;
  // Runs in the coordinator, once every task has mapped its memory: seals that forbid writable
  // mappings would have been in the way.
  Result<> seal(const Image& image) const;

 private:
  std::map<uint64_t, Fd> objects_;
};

}  // namespace ncr
