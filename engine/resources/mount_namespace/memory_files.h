// The files of a file system in memory (tmpfs): into the record, and made again.
#pragma once

#include <map>
#include <string>
#include <utility>

#include "engine/image/image_reader.h"
#include "engine/memory/shared_memory_table.h"
#include "mount_namespace.pb.h"

namespace ncr::mount_namespace {

// Dump, on a thread that shares its working directory with no other.
class MemoryFiles {
 public:
  MemoryFiles(SharedMemoryTable& content, schema::MountedFileSystem* record)
      : content_(content), record_(record) {}
  // Everything at and below `top`, which is at `root` ("/a/b") of the file system. Called for
  // several parts of one, the upper ones first, nothing is recorded twice.
  // `proc`: a directory of the engine's procfs.
  Result<> add(const Fd& top, const std::string& root, const Fd& proc);

 private:
  struct Directory {
    uint32_t node;
    std::string path;  // below the top
  };

  Result<uint32_t> add_ancestors(const std::string& root, std::string* name);
  Result<uint32_t> add_node(uint32_t parent, const std::string& name, const Fd& directory,
                            const char* at);

  SharedMemoryTable& content_;
  schema::MountedFileSystem* record_;
  std::map<std::pair<uint32_t, std::string>, uint32_t> known_;  // parent and name
  std::map<uint64_t, uint32_t> inodes_;                         // of files with several names
  uint64_t device_ = 0;
};

Result<bool> is_empty_directory(const Fd& directory);

// Restore, root task: `root` is the new file system, empty. The working directory changes.
Result<> make_memory_files(const Image& image, const schema::MountedFileSystem& record,
                           const Fd& root);
// What a mount shows that has no name any more: a directory, or a file with what it holds. `proc`:
// a directory of the engine's procfs.
Result<> read_removed(const Fd& shown, const Fd& proc, SharedMemoryTable& content,
                      schema::FileNode* node);
// Makes it in `directory`, under `wanted` if that name is free; the name it got.
Result<std::string> make_removed(const Image& image, const schema::FileNode& node,
                                 const Fd& directory, const std::string& wanted);

// Names, order and kinds of the nodes. Pure.
Result<> check_nodes(const schema::MountedFileSystem& record);

}  // namespace ncr::mount_namespace
