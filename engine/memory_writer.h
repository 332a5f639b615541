// The memory half of an image being written; a dump and a pre-dump have it in common.
#pragma once

#include <memory>

#include "engine/image/image_dir.h"
#include "engine/memory/page_store.h"
#include "engine/memory/parent_pages.h"
#include "engine/request.h"

namespace ncr {

class [[nodiscard]] MemoryWriter {
 public:
  // Makes the images directory, opens the parent image, finds the page server.
  static Result<MemoryWriter> create(const DumpRequest& request, TasksMeanwhile tasks,
                                     uint64_t staging_bytes);

  ImageDir& images() { return *images_; }
  PageStore& store() { return *store_; }
  const PageStore& store() const { return *store_; }

  // PageStore::finish(), and what belongs to its result.
  Result<schema::ChunkTable> finish();
  // What every image says of where it comes from, and of its pages.
  Result<schema::Inventory> describe(pid_t root);
  const std::string& uuid() const { return uuid_; }  // after describe()
  void count(DumpReport* report) const;
  // With lazy pages: those that are not in the image.
  const Fd& remote() const { return remote_; }

 private:
  MemoryWriter() = default;

  std::unique_ptr<ImageDir> images_;
  std::string parent_path_;
  std::string uuid_;
  std::unique_ptr<ParentPages> parent_;
  Fd remote_;
  bool at_server_ = false;
  std::unique_ptr<PageStore> store_;  // last: uses the others
};

}  // namespace ncr
