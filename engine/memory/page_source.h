// Where a pager gets the content of pages: from the image, or from the dump that serves it.
#pragma once

#include <optional>

#include "engine/image/image_reader.h"
#include "engine/memory/page_wire.h"

namespace ncr {

class PageSource {
 public:
  // server: connected to the dump that has the pages; not valid: all of them are in the image.
  static Result<PageSource> open(const Image& image, Fd server);

  // `size` bytes at most page_wire::kMostBody, at an offset of Image::pages.
  Result<> read(void* to, uint64_t size, uint64_t offset) const;
  // Nothing more is wanted.
  Result<> finish() const;

 private:
  explicit PageSource(const Image& image) : image_(image) {}
  Result<> fetch(void* to, uint64_t size, uint64_t offset) const;

  const Image& image_;
  std::optional<page_wire::Peer> server_;
};

}  // namespace ncr
