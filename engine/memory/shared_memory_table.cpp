#include "engine/memory/shared_memory_table.h"

#include <fcntl.h>
#include <sys/sysmacros.h>

#include "engine/memory/huge_pages.h"

namespace ncr {

// Anonymous shared memory, memfds and hugetlb objects live on file systems of the kernel's own,
// each with its own device number; inode numbers repeat only across them.
uint64_t SharedMemoryTable::id_of(const struct stat& object) {
  return (static_cast<uint64_t>(minor(object.st_dev)) << 44) | (object.st_ino & ((1ull << 44) - 1));
}

uint64_t SharedMemoryTable::id_of_segment(uint64_t namespace_inode, int segment) {
  constexpr uint64_t kSegment = 1ull << 62;
  return kSegment | (namespace_inode & 0x3fffffff) << 32 | static_cast<uint32_t>(segment);
}

Result<uint64_t> SharedMemoryTable::add(Fd object, const schema::SharedMemory& description) {
  struct stat stat {};
  TRY(SYSCALL(::fstat(object.get(), &stat), "fstat a shared memory object"));
  // Inodes of ordinary file systems have numbers of their own.
  constexpr uint64_t kUnlinkedFile = 1ull << 63;
  uint64_t id = id_of(stat) | (description.unlinked_file() ? kUnlinkedFile : 0);
  // The inode number of a System V segment is its id, which repeats in every ipc namespace.
  if (description.sysv_namespace() != 0)
    id = id_of_segment(description.sysv_namespace(), static_cast<int>(stat.st_ino));
  std::unique_ptr<Object>& entry = objects_[id];
  if (entry == nullptr) {
    entry = std::make_unique<Object>();
    entry->fd = std::move(object);
    entry->record = description;
    entry->record.set_id(id);
    entry->record.set_size(static_cast<uint64_t>(stat.st_size));
    if (stat.st_blksize > static_cast<blksize_t>(kPageSize) && !description.unlinked_file())
      entry->record.set_huge_page_shift(TRY(huge_page_shift_of(entry->fd)));
    if (description.memfd()) {
      entry->record.set_mode(stat.st_mode);
      int seals = TRY(SYSCALL(::fcntl(entry->fd.get(), F_GET_SEALS), "F_GET_SEALS"));
      entry->record.set_seals(static_cast<uint32_t>(seals));
    }
  } else if (description.memfd() && !entry->record.memfd()) {
    entry->record.MergeFrom(description);
  }
  return id;
}

schema::SharedMemory* SharedMemoryTable::find(uint64_t id) {
  auto found = objects_.find(id);
  return found == objects_.end() ? nullptr : &found->second->record;
}

Result<> SharedMemoryTable::store_pages(PageStore& store) {
  for (auto& [id, object] : objects_) {
    object->pages.set_shmem_id(id);
    TRY_WHILE(store.add_shared_memory(object->fd, object->record.size(), &object->pages),
              "shared memory %llu", static_cast<unsigned long long>(id));
  }
  return {};
}

std::vector<const google::protobuf::MessageLite*> SharedMemoryTable::records() const {
  std::vector<const google::protobuf::MessageLite*> list;
  for (auto& [id, object] : objects_) list.push_back(&object->record);
  return list;
}

std::vector<const google::protobuf::MessageLite*> SharedMemoryTable::page_maps() const {
  std::vector<const google::protobuf::MessageLite*> list;
  for (auto& [id, object] : objects_) list.push_back(&object->pages);
  return list;
}

}  // namespace ncr
