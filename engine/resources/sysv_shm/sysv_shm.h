// Attached System V segments: mappings of tasks, and the segments of the ipc namespace of whoever
// dumps and restores (those of a tree's own are its namespace's matter).
#pragma once

#include <vector>

#include "engine/image/image_reader.h"
#include "engine/memory/shared_memory_table.h"
#include "engine/memory/vma_table.h"
#include "engine/resources/blockers.h"

namespace ncr::sysv_shm {

// Dump: of which segment a mapping is. One of our own ipc namespace is recorded with its bytes.
Result<> look(const Task& task, const VmaLine& line, SharedMemoryTable& shared, Blockers& blockers,
              schema::Vma* vma);

// Restore, coordinator: the segments of our own ipc namespace that tasks are attached to. One that
// is still there is taken as it is, like a file. The destructor removes those that were made,
// unless keep() was called, and gives up what held them: to be declared before the tree.
class [[nodiscard]] Segments {
 public:
  static Result<Segments> create(const Image& image, unsigned threads);
  Segments(Segments&&) noexcept = default;
  Segments& operator=(Segments&&) = delete;
  ~Segments();
  void let_go();  // once the tasks are attached: what is marked as removed goes with them
  void keep() { made_.clear(); }

 private:
  Segments() = default;
  Result<> take(const schema::SharedSegment& segment, const Image& image, unsigned threads);

  std::vector<int> made_;
  std::vector<const void*> held_;  // attachments of ours to segments that are marked as removed
};

// Restore, child: attachments being made. The pieces of one attachment come from one shmat(2), so
// that shmdt(2) finds them all later.
class [[nodiscard]] Attachments {
 public:
  Attachments() = default;
  Attachments(const Attachments&) = delete;
  ~Attachments();  // gives up what was not mapped
  // Maps `size` bytes of `vma`, from `offset` bytes behind its start, at `to`.
  Result<> map(const schema::Vma& vma, uint64_t offset, uint64_t size, void* to);

 private:
  struct Attachment {
    int id = 0;
    uint64_t base = 0;  // where shmat(2) put it in the dumped task
    bool read_only = false;
    char* at = nullptr;
    uint64_t size = 0;
  };
  Result<const Attachment*> attach(const schema::Vma& vma);
  std::vector<Attachment> attachments_;
};

}  // namespace ncr::sysv_shm
