// A mapping is left out where a missing page has a meaning of its own (droppable memory), where the
// kernel fills it at once (mlock), where it comes in larger pieces (huge pages), or where it
// changes by itself (a stack that grows downwards). rseq areas are written to as soon as they are
// registered.
#include "engine/memory/lazy_ranges.h"

#include <sys/mman.h>

#include <algorithm>

namespace ncr {
namespace {

bool is_plain(const schema::Vma& vma) {
  return vma.kind() == schema::VMA_ANONYMOUS && !vma.grows_down() && !vma.droppable() &&
         vma.huge_page_shift() == 0 && vma.lock() == 0 && (vma.prot() & PROT_READ) != 0;
}

RunSet pages_of_the_kernel(const schema::Task& task) {
  RunSet pages;
  for (const schema::Thread& thread : task.threads()) {
    if (thread.rseq().address() == 0) continue;
    const uint64_t start = page_floor(thread.rseq().address());
    const uint64_t end = page_ceil(thread.rseq().address() + std::max(thread.rseq().size(), 32u));
    pages = set_union(pages, {{start, (end - start) / kPageSize}});
  }
  return pages;
}

// The parts of a run that are lazy go to *lazy, the others to *eager.
void split(const schema::PageRun& run, const RunSet& ranges, schema::PageMap* eager,
           std::vector<schema::PageRun>* lazy) {
  const RunSet whole = {{run.start(), run.pages()}};
  auto part = [&run](const AddressRun& piece) {
    schema::PageRun cut = run;
    cut.set_start(piece.start);
    cut.set_pages(piece.pages);
    if (run.place_case() == schema::PageRun::kStored)
      cut.set_stored(run.stored() + (piece.start - run.start()));
    return cut;
  };
  for (const AddressRun& piece : difference(whole, ranges)) *eager->add_runs() = part(piece);
  if (run.place_case() != schema::PageRun::kStored) return;  // a lazy page of zeroes is no page
  for (const AddressRun& piece : intersection(whole, ranges)) lazy->push_back(part(piece));
}

}  // namespace

RunSet lazy_ranges(const schema::Task& task) {
  RunSet ranges;
  for (const schema::Vma& vma : task.memory().vmas())
    if (is_plain(vma)) append(&ranges, vma.start(), vma.end());
  return difference(ranges, pages_of_the_kernel(task));
}

std::vector<LazyTask> take_lazy_pages(Image* image) {
  std::vector<LazyTask> tasks;
  for (const schema::Task& task : image->tasks) {
    auto found = image->task_pages.find(task.pid());
    if (found == image->task_pages.end()) continue;
    LazyTask lazy{task.pid(), lazy_ranges(task), {}};
    schema::PageMap eager;
    eager.set_pid(task.pid());
    for (const schema::PageRun& run : found->second.runs())
      split(run, lazy.ranges, &eager, &lazy.runs);
    if (lazy.runs.empty()) continue;
    found->second = std::move(eager);
    tasks.push_back(std::move(lazy));
  }
  return tasks;
}

}  // namespace ncr
