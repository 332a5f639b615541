// Where the pages of an image lie: one space of byte offsets over its own pages file and those of
// the images it is incremental to, nearest first. Page maps of an opened image point into it.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/base/sys.h"

namespace ncr {

class PageFiles {
 public:
  PageFiles() = default;
  PageFiles(Fd file);  // NOLINT: one file of any size

  // Behind all others, a page apart, so that no run reaches from one into the next. Returns where
  // it begins. Not valid: pages that are not on this machine.
  uint64_t add(Fd file, uint64_t size);
  // Every file of `others` behind ours; returns where the first begins.
  uint64_t add_all(PageFiles others);

  struct Piece {
    int fd = -1;          // of the file; -1: not on this machine
    uint64_t offset = 0;  // there
    size_t file = 0;      // counts the files
  };
  // kMalformed: [offset, offset + size) is not inside one file.
  Result<Piece> find(uint64_t offset, uint64_t size) const;
  bool contains(uint64_t offset, uint64_t size) const;
  Result<> read(void* to, uint64_t size, uint64_t offset) const;

 private:
  struct File {
    Fd fd;
    uint64_t start;
    uint64_t size;
  };
  const File* file_at(uint64_t offset, uint64_t size) const;
  uint64_t next_start() const;

  std::vector<File> files_;
};

}  // namespace ncr
