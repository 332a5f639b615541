// Reads pages of the page store into our own memory, with several threads.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/base/result.h"
#include "engine/image/page_files.h"

namespace ncr {

struct FillSpan {
  uint64_t to;      // address in our memory, writable
  uint64_t size;    // whole pages
  uint64_t offset;  // in the file
  bool anonymous;   // fresh anonymous memory: populated in one go before it is read into
};

// threads: 0 is as many as CPUs, 4 at most. Small fills never leave the calling thread.
Result<> fill_pages(int fd, std::vector<FillSpan> spans, unsigned threads);
// The same, offsets being those of an opened image.
Result<> fill_pages(const PageFiles& files, const std::vector<FillSpan>& spans, unsigned threads);

}  // namespace ncr
