// The page store: decides which pages of which task are copied, hands them to the pump in jobs, and
// turns the places where they ended up into page maps. Runs in the engine while the tree stands
// still.
#include "engine/memory/page_store.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <deque>

#include "engine/memory/page_pump.h"
#include "engine/memory/page_runs.h"

namespace ncr {
namespace {

constexpr unsigned kMostThreads = 4;

unsigned thread_count(unsigned wanted) {
  if (wanted != 0) return wanted;
  cpu_set_t cpus;
  if (::sched_getaffinity(0, sizeof cpus, &cpus) != 0) return 1;
  return std::clamp(static_cast<unsigned>(CPU_COUNT(&cpus)), 1u, kMostThreads);
}

void append_run(schema::PageMap* map, const PlacedRun& run) {
  bool zero = run.stored == PlacedRun::kZero;
  if (map->runs_size() > 0) {
    schema::PageRun* last = map->mutable_runs(map->runs_size() - 1);
    uint64_t bytes = last->pages() * kPageSize;
    bool continues =
        zero ? last->has_zero() : last->has_stored() && last->stored() + bytes == run.stored;
    if (continues && last->start() + bytes == run.start) {
      last->set_pages(last->pages() + run.pages);
      return;
    }
  }
  schema::PageRun* next = map->add_runs();
  next->set_start(run.start);
  next->set_pages(run.pages);
  if (zero) {
    next->set_zero(true);
  } else {
    next->set_stored(run.stored);
  }
}

// One page map in the making.
struct Source {
  pid_t pid = 0;
  Fd object;
  schema::PageMap* map = nullptr;
  std::deque<CopyJob> jobs;  // in the order of their addresses
};

// Cuts runs into jobs.
void cut_into_jobs(const std::vector<AddressRun>& runs, Source* source) {
  uint64_t room = 0;
  for (AddressRun run : runs) {
    while (run.pages > 0) {
      if (room == 0) {
        source->jobs.push_back({source->pid, &source->object, {}, {}});
        room = PagePump::kJobPages;
      }
      uint64_t pages = std::min(room, run.pages);
      source->jobs.back().runs.push_back({run.start, pages});
      run.start += pages * kPageSize;
      run.pages -= pages;
      room -= pages;
    }
  }
}

// Our own view of the object: looking for its data must not move a file position that the target
// shares.
Result<Fd> reopen(const Fd& object) {
  return sys::open(strf("/proc/self/fd/%d", object.get()).c_str(), O_RDONLY);
}

Result<std::vector<AddressRun>> find_data(const Fd& object, uint64_t size) {
  std::vector<AddressRun> runs;
  off_t end = static_cast<off_t>(size);
  for (off_t at = 0; at < end;) {
    Result<off_t> data = SYSCALL(::lseek(object.get(), at, SEEK_DATA), "look for data");
    if (!data.ok() && data.error().os_error() == ENXIO) break;
    off_t from = TRY(std::move(data));
    if (from >= end) break;
    off_t to = TRY(SYSCALL(::lseek(object.get(), from, SEEK_HOLE), "look for a hole"));
    uint64_t start = page_floor(static_cast<uint64_t>(from));
    uint64_t stop = page_ceil(static_cast<uint64_t>(std::min(to, end)));
    runs.push_back({start, (stop - start) / kPageSize});
    at = static_cast<off_t>(stop);
  }
  return runs;
}

}  // namespace

struct PageStore::Impl {
  Impl(Fd output, const std::string& path, unsigned threads)
      : pump(std::move(output), path, threads) {}

  std::deque<Source> sources;
  PageStoreStats stats;
  PagePump pump;  // last: stops before the jobs it works on go away

  void copy(const std::vector<AddressRun>& runs, Source* source) {
    for (const AddressRun& run : runs) stats.pages_scanned += run.pages;
    cut_into_jobs(runs, source);
    for (CopyJob& job : source->jobs) pump.add(&job);
  }

  void fill_map(Source& source) {
    for (const CopyJob& job : source.jobs) {
      for (const PlacedRun& run : job.placed) {
        append_run(source.map, run);
        if (run.stored == PlacedRun::kZero) stats.pages_zero += run.pages;
      }
    }
  }
};

PageStore::PageStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PageStore::PageStore(PageStore&&) noexcept = default;
PageStore::~PageStore() = default;

Result<PageStore> PageStore::create(ImageDir& images, unsigned threads) {
  Fd output = TRY(images.create_raw(kPagesFile));
  std::string path = images.path() + "/" + kPagesFile;
  return PageStore(std::make_unique<Impl>(std::move(output), path, thread_count(threads)));
}

Result<> PageStore::add_task(pid_t pid, const schema::Memory& memory, schema::PageMap* map) {
  map->set_pid(pid);
  Fd pagemap = TRY(open_pagemap(pid));
  std::vector<AddressRun> runs =
      TRY_WHILE(find_private_pages(pagemap, memory, PageScan::kBest), "memory of process %d", pid);
  Source& source = impl_->sources.emplace_back();
  source.pid = pid;
  source.map = map;
  impl_->copy(runs, &source);
  return {};
}

Result<> PageStore::add_shared_memory(const Fd& object, uint64_t size, schema::PageMap* map) {
  Source& source = impl_->sources.emplace_back();
  source.map = map;
  source.object = TRY(reopen(object));
  std::vector<AddressRun> runs = TRY_WHILE(find_data(source.object, size), "shared memory");
  impl_->copy(runs, &source);
  return {};
}

Result<schema::ChunkTable> PageStore::finish() {
  TRY(impl_->pump.drain());
  for (Source& source : impl_->sources) impl_->fill_map(source);
  impl_->sources.clear();
  schema::ChunkTable table;
  for (StoredChunk& stored : impl_->pump.take_chunks()) {
    schema::Chunk* chunk = table.add_chunks();
    chunk->set_size(stored.size);
    chunk->set_xxh3_128(std::move(stored.checksum));
  }
  impl_->stats.pages_written = impl_->pump.bytes_written() / kPageSize;
  return table;
}

PageStoreStats PageStore::stats() const { return impl_->stats; }

}  // namespace ncr
