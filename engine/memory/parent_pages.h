// What the image that a dump is incremental to knows of the pages that are dumped.
#pragma once

#include <optional>

#include "engine/image/image_reader.h"
#include "engine/memory/page_sieve.h"

namespace ncr {

class ParentPages {
 public:
  // `parent` is relative to the directory of the new image, or absolute.
  static Result<ParentPages> open(const std::string& images_dir, const std::string& parent);

  const schema::PageMap* of_task(int32_t pid) const;          // null: it had none
  const schema::PageMap* of_object(uint64_t shmem_id) const;  // null: it had none
  const std::string& uuid() const { return image_.inventory.uuid(); }

  // Of the checksums of the chain; none if its pages have none.
  std::optional<uint64_t> seed() const;
  // True: the page at `place` of the parent's pages is known to be this one.
  // `hash` was made with `seed`.
  bool holds(uint64_t place, const char* page, const PageHash& hash, uint64_t seed) const;

 private:
  explicit ParentPages(Image image) : image_(std::move(image)) {}
  Image image_;
};

// Where the parent has the page at an address, for ascending addresses.
class ParentCursor {
 public:
  ParentCursor(const schema::PageMap* map, uint64_t first);
  std::optional<uint64_t> at(uint64_t address);

 private:
  const schema::PageMap* map_;
  int next_ = 0;
};

}  // namespace ncr
