#include "engine/memory/vma_reader.h"

#include <algorithm>

#include "engine/base/sys.h"
#include "engine/memory/vma_table.h"

namespace ncr {
namespace {

constexpr size_t kLinesAhead = 32'000;  // read but not taken yet, so that memory stays small

// Of so many tasks smaps cost more than the iterator's load.
constexpr size_t kManyTasks = 32;

Result<std::vector<VmaLine>> read_vmas(const Task& task, const VmaIterator* iterator) {
  if (iterator != nullptr) {
    Result<std::optional<std::vector<VmaLine>>> lines = iterator->read(task.pid);
    if (lines.ok() && lines.value()) return std::move(*lines.value());
  }
  std::string smaps = TRY(sys::read_file_at(task.proc, "smaps"));
  return TRY_WHILE(parse_smaps(smaps), "/proc/%d/smaps", task.pid);
}

}  // namespace

VmaReader::VmaReader(unsigned threads) {
  for (unsigned i = 1; i < threads; i++) threads_.emplace_back([this] { read_ahead(); });
}

VmaReader::~VmaReader() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  work_.notify_all();
  threads_.clear();  // joins
}

void VmaReader::begin(const std::vector<Task>& tasks) {
  for (const QuietThread& thread : threads_) thread.keep_off_this_cpu();
  {
    std::lock_guard lock(mutex_);
    tasks_ = &tasks;
    states_.assign(tasks.size(), State::kUnread);
    lines_.resize(tasks.size());
  }
  work_.notify_all();
}

void VmaReader::end() {
  std::unique_lock lock(mutex_);
  next_ = states_.size();
  awaited_ = kAnyone;
  read_.wait(lock, [this] {
    return std::find(states_.begin(), states_.end(), State::kBeingRead) == states_.end();
  });
}

void VmaReader::read_ahead() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    if (states_.size() >= kManyTasks && !tried_to_load_)
      load_iterator(lock);  // unlocked meanwhile: all of it may be over
    else if (!read_next(lock)) {
      work_.wait(lock);
      QuietThread::move_freely();
    }
  }
}

// Others read smaps meanwhile.
void VmaReader::load_iterator(std::unique_lock<std::mutex>& lock) {
  tried_to_load_ = true;
  lock.unlock();
  Result<VmaIterator> loaded = VmaIterator::load();
  lock.lock();
  if (loaded.ok()) iterator_.emplace(loaded.take());
}

const VmaIterator* VmaReader::iterator(const std::unique_lock<std::mutex>&) const {
  return iterator_ ? &*iterator_ : nullptr;
}

bool VmaReader::read_next(std::unique_lock<std::mutex>& lock) {
  while (next_ < states_.size() && (states_[next_] != State::kUnread || !(*tasks_)[next_].alive()))
    next_++;
  if (next_ == states_.size() || lines_ahead_ >= kLinesAhead) return false;
  const size_t index = next_++;
  states_[index] = State::kBeingRead;
  const VmaIterator* through = iterator(lock);
  lock.unlock();
  Lines lines = read_vmas((*tasks_)[index], through);
  lock.lock();
  if (lines.ok()) lines_ahead_ += lines.value().size();
  lines_[index] = std::move(lines);
  states_[index] = State::kRead;
  if (awaited_ == kAnyone || awaited_ == index) read_.notify_all();
  return true;
}

// Meanwhile this thread reads others.
Result<std::vector<VmaLine>> VmaReader::take(size_t index) {
  std::unique_lock lock(mutex_);
  if (states_[index] == State::kUnread) {
    states_[index] = State::kRead;
    const VmaIterator* through = iterator(lock);
    lock.unlock();
    return read_vmas((*tasks_)[index], through);
  }
  awaited_ = index;
  while (states_[index] != State::kRead)
    if (!read_next(lock)) read_.wait(lock);
  Lines lines = std::move(*lines_[index]);
  lines_[index].reset();
  if (lines.ok()) lines_ahead_ -= lines.value().size();
  if (lines_ahead_ < kLinesAhead / 2) work_.notify_all();
  return lines;
}

}  // namespace ncr
