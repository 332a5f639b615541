// Which memory a lazy restore leaves to a daemon, to be filled when the program asks for it.
#pragma once

#include <vector>

#include "engine/image/image_reader.h"
#include "engine/memory/run_set.h"
#include "task.pb.h"

namespace ncr {

// Private anonymous mappings without anything particular about them, but for the pages that the
// kernel itself writes to before the task runs. Pure; a dump, a restore and a daemon agree on it.
RunSet lazy_ranges(const schema::Task& task);

// The memory of one task that is filled later.
struct LazyTask {
  int32_t pid = 0;
  RunSet ranges;
  std::vector<schema::PageRun> runs;  // stored ones, ascending; offsets in Image::pages
};

// Takes the lazy pages out of the image's page maps, for every task that has any.
std::vector<LazyTask> take_lazy_pages(Image* image);

}  // namespace ncr
