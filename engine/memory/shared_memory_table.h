// The shared memory objects of a tree: MAP_SHARED|MAP_ANONYMOUS mappings and memfds. One object,
// one id, however many mappings and descriptors it has.
#pragma once

#include <sys/stat.h>

#include <map>
#include <memory>
#include <vector>

#include "engine/base/sys.h"
#include "engine/memory/page_store.h"
#include "memory.pb.h"

namespace ncr {

class SharedMemoryTable {
 public:
  // The object behind `object` (any descriptor of it, readable). Its content is stored by
  // store_pages().
  Result<uint64_t> add(Fd object, const schema::SharedMemory& description);
  // The id an object has or would have; 0 is never an id.
  static uint64_t id_of(const struct stat& object);
  // The same of a System V segment, by its ipc namespace.
  static uint64_t id_of_segment(uint64_t namespace_inode, int segment);
  // A description of the object that is the same whether it was met as a mapping or as a
  // descriptor.
  schema::SharedMemory* find(uint64_t id);

  Result<> store_pages(PageStore& store);
  std::vector<const google::protobuf::MessageLite*> records() const;
  std::vector<const google::protobuf::MessageLite*> page_maps() const;

 private:
  struct Object {
    schema::SharedMemory record;
    schema::PageMap pages;
    Fd fd;
  };
  std::map<uint64_t, std::unique_ptr<Object>> objects_;
};

}  // namespace ncr
