#include "engine/page_reading.h"

#include <algorithm>
#include <utility>

#include "engine/memory/lazy_ranges.h"

namespace ncr {
namespace {

// Requests under way write to the memory of a task that stands still.
bool has_asynchronous_io(const schema::Memory& memory) {
  return std::any_of(memory.vmas().begin(), memory.vmas().end(),
                     [](const schema::Vma& vma) { return vma.kind() == schema::VMA_AIO; });
}

}  // namespace

PageReading::PageReading(PageStore& store, SharedMemoryTable& shared_memory,
                         std::vector<schema::PageMap>& maps)
    : store_(store), shared_memory_(shared_memory), maps_(maps) {}

PageReading::~PageReading() {
  {
    std::lock_guard lock(mutex_);
    abandoned_ = true;
  }
  offered_more_.notify_all();
  store_.abandon();
}

void PageReading::begin(size_t tasks, InnerPids pids, bool lazily) {
  maps_.resize(tasks);
  memories_.reserve(tasks);
  pids_ = std::move(pids);
  lazily_ = lazily;
}

void PageReading::offer(schema::Task* record) {
  const bool zombie = record->state() == schema::TASK_ZOMBIE;
  TaskPages pages{record->pid(), pids_.of(record->pid())};
  if (lazily_) pages.lazy = lazy_ranges(*record);
  memories_.push_back(
      {std::move(pages), record->comm(), zombie ? nullptr : record->mutable_memory()});
  held_back_ = held_back_ || (!zombie && has_asynchronous_io(record->memory()));
  if (!held_back_) let_read(memories_.size());
}

void PageReading::offer_rest() { let_read(maps_.size() + 1); }

// The thread is woken when there is something to read: to wake it costs the tree 10 us.
void PageReading::let_read(size_t offered) {
  {
    std::lock_guard lock(mutex_);
    offered_ = offered;
  }
  if (std::exchange(begun_, true))
    offered_more_.notify_one();
  else
    errand_.begin([this] { result_ = read(); });
}

Result<> PageReading::finish() {
  store_.help();
  errand_.finish();
  return std::move(result_);
}

bool PageReading::await(size_t tasks) {
  std::unique_lock lock(mutex_);
  offered_more_.wait(lock, [&] { return offered_ >= tasks || abandoned_; });
  return !abandoned_;
}

Result<> PageReading::read() {
  for (size_t i = 0; i < maps_.size(); i++) {
    if (!await(i + 1)) return {};
    const auto& [task, comm, memory] = memories_[i];
    maps_[i].set_pid(task.pid);
    if (memory == nullptr) continue;
    TRY_WHILE(store_.add_task(task, memory, &maps_[i]), "memory of task %d (%s)", task.pid,
              comm.c_str());
  }
  if (!await(maps_.size() + 1)) return {};
  TRY(shared_memory_.store_pages(store_));
  return store_.read_all();
}

}  // namespace ncr
