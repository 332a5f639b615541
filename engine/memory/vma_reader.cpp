#include "engine/memory/vma_reader.h"

#include <algorithm>

#include "engine/base/sys.h"

namespace ncr {
namespace {

constexpr size_t kLinesAhead = 32'000;  // read but not taken yet, so that memory stays small

Result<std::vector<VmaLine>> read_vmas(const Task& task) {
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
  while (!stop_)
    if (!read_next(lock)) work_.wait(lock);
}

bool VmaReader::read_next(std::unique_lock<std::mutex>& lock) {
  while (next_ < states_.size() && (states_[next_] != State::kUnread || !(*tasks_)[next_].alive()))
    next_++;
  if (next_ == states_.size() || lines_ahead_ >= kLinesAhead) return false;
  const size_t index = next_++;
  states_[index] = State::kBeingRead;
  lock.unlock();
  Lines lines = read_vmas((*tasks_)[index]);
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
    lock.unlock();
    return read_vmas((*tasks_)[index]);
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
