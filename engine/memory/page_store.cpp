// The page store: decides which pages of which task are copied, hands them to the pump in jobs, and
// turns the places where they ended up into page maps. Runs in the engine, up to read_all() while
// the tree stands still.
//
// A page that an earlier task has as well is not copied: its place is looked up in that task's map
// at the end, once it is certain that the two still are one.
#include "engine/memory/page_store.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <deque>

#include "engine/memory/page_pump.h"
#include "engine/memory/page_runs.h"
#include "engine/memory/page_table.h"
#include "engine/memory/parent_pages.h"
#include "engine/memory/shared_pages.h"

namespace ncr {
namespace {

constexpr uint64_t kSmallObject = 64;  // pages

using Place = PlacedRun::Place;

void append_run(schema::PageMap* map, PlacedRun* last, const PlacedRun& run) {
  if (map->runs_size() > 0 && last->continued_by(run)) {
    last->pages += run.pages;
    map->mutable_runs(map->runs_size() - 1)->set_pages(last->pages);
    return;
  }
  *last = run;
  schema::PageRun* next = map->add_runs();
  next->set_start(run.start);
  next->set_pages(run.pages);
  switch (run.place) {
    case Place::kZero:
      return next->set_zero(true);
    case Place::kStored:
    case Place::kKnown:
      return next->set_stored(run.offset);
    case Place::kParent:
      return next->set_in_parent(run.offset);
    case Place::kRemote:
      return next->set_remote(run.offset);
  }
}

// One page map in the making.
struct Source {
  pid_t pid = 0;
  Fd object;
  schema::PageMap* map = nullptr;
  std::deque<CopyJob> jobs;       // by address
  std::vector<SharedRun> shared;  // by address
  RunSet mapped_once;             // pages that are known to be
  std::deque<CopyJob> late_jobs;  // of what turned out not to be shared
  std::deque<CopyJob> lazy_jobs;  // of what a lazy restore may ask for later
  const schema::PageMap* parent = nullptr;
  bool may_vanish = false;
};

void cut_into_jobs(const RunSet& runs, const Source& source, std::deque<CopyJob>* jobs) {
  uint64_t room = 0;
  for (AddressRun run : runs) {
    while (run.pages > 0) {
      if (room == 0) {
        CopyJob& job = jobs->emplace_back();
        job.pid = source.pid;
        job.object = &source.object;
        job.parent = source.parent;
        job.may_vanish = source.may_vanish;
        room = PagePump::kJobPages;
      }
      uint64_t pages = std::min(room, run.pages);
      jobs->back().runs.push_back({run.start, pages});
      run.start += pages * kPageSize;
      run.pages -= pages;
      room -= pages;
    }
  }
}

RunSet pages_of(const std::vector<SharedRun>& shared) {
  RunSet pages;
  for (const SharedRun& run : shared) append(&pages, run.run.start, run.run.end());
  return pages;
}

// Our own view of the object: looking for its data must not move a file position that the target
// shares.
Result<Fd> reopen(const Fd& object) {
  return sys::open(strf("/proc/self/fd/%d", object.get()).c_str(), O_RDONLY);
}

Result<RunSet> find_data(const Fd& object, uint64_t size) {
  RunSet runs;
  off_t end = static_cast<off_t>(size);
  for (off_t at = 0; at < end;) {
    Result<off_t> data = SYSCALL(::lseek(object.get(), at, SEEK_DATA), "look for data");
    if (!data.ok() && data.error().os_error() == ENXIO) break;
    off_t from = TRY(std::move(data));
    if (from >= end) break;
    off_t to = TRY(SYSCALL(::lseek(object.get(), from, SEEK_HOLE), "look for a hole"));
    uint64_t stop = page_ceil(static_cast<uint64_t>(std::min(to, end)));
    append(&runs, page_floor(static_cast<uint64_t>(from)), stop);
    at = static_cast<off_t>(stop);
  }
  return runs;
}

}  // namespace

struct PageStore::Impl {
  explicit Impl(PageStoreOptions given)
      : options{.threads = worker_threads(given.threads),
                .staging_bytes = given.staging_bytes,
                .parent = given.parent,
                .keep_hashes = given.keep_hashes,
                .seed = given.seed,
                .tasks = given.tasks,
                .output = nullptr,
                .remote = nullptr},
        lazy(given.remote != nullptr),
        pump({.output = std::move(given.output),
              .remote = std::move(given.remote),
              .threads = options.threads,
              .staging_bytes = options.staging_bytes,
              .parent = options.parent,
              .keep_hashes = options.keep_hashes,
              .seed = options.seed,
              .compare_all = options.tasks == TasksMeanwhile::kRun}) {}

  const PageStoreOptions options;
  const bool lazy;
  SharedPages identity{PageKey::kFrame};
  std::vector<Source*> tasks;  // in the order that `identity` counts them
  std::deque<Source> sources;
  PageStoreStats stats;
  std::vector<schema::PageHashes> hashes;
  PagePump pump;  // last: stops before the jobs it works on go away

  Result<> split(Source& source, const RunSet& pages);
  void copy_lazily(Source& source, const RunSet& pages);
  void count(const Source& source, const PlacedRun& run);
  void keep(std::string hashes_of_chunk);
  Result<> copy_object(Source& source, const RunSet& pages);
  void copy(const RunSet& runs, Source& source, std::deque<CopyJob>* jobs);
  Result<> copy_what_moved();
  void fill_map(Source& source);
  std::vector<PlacedRun> resolve(const SharedRun& shared) const;
};

void PageStore::Impl::keep(std::string of_chunk) {
  constexpr size_t kRecord = 1 << 20;
  if (hashes.empty() || hashes.back().xxh3_128().size() >= kRecord)
    hashes.emplace_back().set_seed(options.seed);
  hashes.back().mutable_xxh3_128()->append(of_chunk);
}

void PageStore::Impl::copy(const RunSet& runs, Source& source, std::deque<CopyJob>* jobs) {
  cut_into_jobs(runs, source, jobs);
  for (CopyJob& job : *jobs) {
    job.mapped_once = std::all_of(job.runs.begin(), job.runs.end(), [&](const AddressRun& run) {
      return contains(source.mapped_once, run);
    });
    pump.add(&job);
  }
}

Result<> PageStore::Impl::split(Source& source, const RunSet& pages) {
  stats.pages_scanned += count_pages(pages);
  // A frame says nothing about a page that is being written to.
  if (options.tasks == TasksMeanwhile::kStandStill) {
    FoundPages found = TRY(identity.add(source.pid, pages));
    source.shared = std::move(found.shared);
    source.mapped_once = std::move(found.mapped_once);
    tasks.push_back(&source);
  }
  copy(difference(pages, pages_of(source.shared)), source, &source.jobs);
  return {};
}

void PageStore::Impl::copy_lazily(Source& source, const RunSet& pages) {
  stats.pages_scanned += count_pages(pages);
  cut_into_jobs(pages, source, &source.lazy_jobs);
  for (CopyJob& job : source.lazy_jobs) {
    job.remote = true;
    pump.add(&job);
  }
}

Result<> PageStore::Impl::copy_object(Source& source, const RunSet& pages) {
  const uint64_t size = count_pages(pages);
  stats.pages_scanned += size;
  stats.shpages_scanned += size;
  if (size > kSmallObject) {
    copy(pages, source, &source.jobs);
    return {};
  }
  // Done at once and closed: a tree may have more objects than we may have descriptors.
  cut_into_jobs(pages, source, &source.jobs);
  for (CopyJob& job : source.jobs) TRY(pump.copy_now(&job));
  source.object = Fd();
  return {};
}

Result<> PageStore::Impl::copy_what_moved() {
  std::vector<RunSet> referenced(tasks.size());
  for (const Source* source : tasks) {
    for (const SharedRun& shared : source->shared) {
      RunSet& pages = referenced[shared.owner];
      // Siblings mostly refer to the same pages of their parent.
      if (!contains(pages, shared.run)) pages = set_union(pages, {shared.run});
    }
  }
  std::vector<RunSet> moved(tasks.size());
  bool any = false;
  for (uint32_t owner = 0; owner < tasks.size(); owner++) {
    if (referenced[owner].empty()) continue;
    moved[owner] = TRY(identity.moved(owner, referenced[owner]));
    any |= !moved[owner].empty();
  }
  if (!any) return {};
  for (Source* source : tasks) {
    std::vector<SharedRun> kept;
    RunSet copied;
    for (const SharedRun& shared : source->shared) {
      RunSet here{shared.run};
      for (const AddressRun& run : difference(here, moved[shared.owner])) {
        kept.push_back({run, shared.owner});
      }
      copied = set_union(copied, intersection(here, moved[shared.owner]));
    }
    source->shared = std::move(kept);
    copy(copied, *source, &source->late_jobs);
  }
  return pump.drain();
}

// Where the owner's pages went: its jobs are in the order of addresses, and so is what they placed.
std::vector<PlacedRun> PageStore::Impl::resolve(const SharedRun& shared) const {
  std::vector<PlacedRun> places;
  const std::deque<CopyJob>& jobs = tasks[shared.owner]->jobs;
  auto job = std::partition_point(jobs.begin(), jobs.end(), [&](const CopyJob& candidate) {
    return candidate.runs.back().end() <= shared.run.start;
  });
  for (; job != jobs.end() && job->runs.front().start < shared.run.end(); job++) {
    for (const PlacedRun& placed : job->placed) {
      uint64_t start = std::max(placed.start, shared.run.start);
      uint64_t end = std::min(placed.end(), shared.run.end());
      if (start >= end) continue;
      const uint64_t skipped = placed.place == Place::kZero ? 0 : start - placed.start;
      places.push_back({start, (end - start) / kPageSize, placed.place, placed.offset + skipped});
    }
  }
  return places;
}

void PageStore::Impl::count(const Source& source, const PlacedRun& run) {
  switch (run.place) {
    case Place::kZero:
      stats.pages_zero += run.pages;
      break;
    case Place::kParent:
      stats.pages_parent += run.pages;
      if (source.pid == 0) stats.shpages_parent += run.pages;
      break;
    case Place::kStored:
    case Place::kKnown:
      if (source.pid == 0) stats.shpages_written += run.pages;
      break;
    case Place::kRemote:
      stats.pages_lazy += run.pages;
  }
}

void PageStore::Impl::fill_map(Source& source) {
  std::vector<PlacedRun> places;
  for (const std::deque<CopyJob>* jobs : {&source.jobs, &source.late_jobs, &source.lazy_jobs}) {
    for (const CopyJob& job : *jobs) {
      for (const PlacedRun& run : job.placed) {
        places.push_back(run);
        count(source, run);
      }
    }
  }
  for (const SharedRun& shared : source.shared) {
    stats.pages_shared += shared.run.pages;
    std::vector<PlacedRun> theirs = resolve(shared);
    places.insert(places.end(), theirs.begin(), theirs.end());
  }
  std::sort(places.begin(), places.end(),
            [](const PlacedRun& a, const PlacedRun& b) { return a.start < b.start; });
  PlacedRun last;
  for (const PlacedRun& run : places) append_run(source.map, &last, run);
}

PageStore::PageStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
PageStore::PageStore(PageStore&&) noexcept = default;
PageStore::~PageStore() = default;

Result<PageStore> PageStore::create(ImageDir& images, PageStoreOptions options) {
  if (options.output == nullptr) {
    Fd output = TRY(images.create_raw(kPagesFile));
    const std::string path = images.path() + "/" + kPagesFile;
    options.output = std::make_unique<FileOutput>(std::move(output), path);
  }
  return PageStore(std::make_unique<Impl>(std::move(options)));
}

Result<> PageStore::add_task(const TaskPages& task, schema::Memory* memory, schema::PageMap* map) {
  map->set_pid(task.pid);
  Fd pagemap = TRY(open_pagemap(task.pid));
  PrivatePages found = TRY_WHILE(find_private_pages(pagemap, *memory, PageScan::kBest),
                                 "memory of process %d", task.pid);
  note_guards(found.guards, memory);
  Source& source = impl_->sources.emplace_back();
  source.pid = task.pid;
  source.map = map;
  source.may_vanish = impl_->options.tasks == TasksMeanwhile::kRun;
  if (impl_->options.parent != nullptr)
    source.parent = impl_->options.parent->of_task(task.inner_pid != 0 ? task.inner_pid : task.pid);
  if (!impl_->lazy) return impl_->split(source, found.pages);
  impl_->copy_lazily(source, intersection(found.pages, task.lazy));
  return impl_->split(source, difference(found.pages, task.lazy));
}

Result<> PageStore::add_shared_memory(const Fd& object, uint64_t size, schema::PageMap* map) {
  Source& source = impl_->sources.emplace_back();
  source.map = map;
  source.object = TRY(reopen(object));
  if (impl_->options.parent != nullptr)
    source.parent = impl_->options.parent->of_object(map->shmem_id());
  RunSet pages = TRY_WHILE(find_data(source.object, size), "shared memory");
  return impl_->copy_object(source, pages);
}

void PageStore::abandon() { impl_->pump.abandon(); }

void PageStore::help() { impl_->pump.lend_a_hand(); }

Result<> PageStore::read_all() {
  TRY(impl_->pump.drain());
  if (impl_->tasks.empty()) return {};
  return impl_->copy_what_moved();
}

Result<schema::ChunkTable> PageStore::finish() {
  TRY(impl_->pump.write_staged());
  for (Source& source : impl_->sources) impl_->fill_map(source);
  impl_->tasks.clear();
  impl_->sources.clear();
  schema::ChunkTable table;
  for (StoredChunk& stored : impl_->pump.take_chunks()) {
    schema::Chunk* chunk = table.add_chunks();
    chunk->set_size(stored.size);
    chunk->set_xxh3_128(std::move(stored.checksum));
    if (impl_->options.keep_hashes) impl_->keep(std::move(stored.hashes));
  }
  TRY(impl_->pump.finish());
  impl_->stats.pages_written = impl_->pump.bytes_written() / kPageSize;
  return table;
}

std::vector<schema::PageHashes> PageStore::take_hashes() { return std::move(impl_->hashes); }

uint64_t PageStore::remote_bytes() const { return impl_->pump.bytes_remote(); }

PageStoreStats PageStore::stats() const { return impl_->stats; }

}  // namespace ncr
