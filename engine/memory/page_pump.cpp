// The page pump: from a task's memory into a buffer that stays in the second-level cache, then from
// there into the image. Runs in the engine, in its own threads and in the caller's.
#include "engine/memory/page_pump.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "engine/base/ids.h"
#include "engine/image/image_dir.h"
#include "engine/image/record_file.h"
#include "engine/memory/page_reader.h"

namespace ncr {
namespace {

constexpr uint64_t kWorthThreads = (4 << 20) / kPageSize;  // pages

bool is_zero_page(const char* page) {
  const uint64_t* words = reinterpret_cast<const uint64_t*>(page);
  for (size_t i = 0; i < kPageSize / sizeof(uint64_t); i += 8) {
    uint64_t any = words[i] | words[i + 1] | words[i + 2] | words[i + 3] | words[i + 4] |
                   words[i + 5] | words[i + 6] | words[i + 7];
    if (any != 0) return false;
  }
  return true;
}

// The last page of an object may be cut short by its size.
Result<> read_object(const Fd& object, const RunSet& runs, char* to) {
  for (const AddressRun& run : runs) {
    uint64_t size = run.pages * kPageSize;
    uint64_t done = 0;
    while (done < size) {
      ssize_t got = TRY(SYSCALL(
          ::pread(object.get(), to + done, size - done, static_cast<off_t>(run.start + done)),
          "read shared memory"));
      if (got == 0) break;
      done += static_cast<uint64_t>(got);
    }
    std::memset(to + done, 0, size - done);
    to += size;
  }
  return {};
}

// Pages of zeroes are noted and squeezed out: returns the bytes left at the front of `data`.
uint64_t squeeze(const RunSet& runs, char* data, std::vector<PlacedRun>* placed) {
  char* from = data;
  char* to = data;
  for (const AddressRun& run : runs) {
    for (uint64_t i = 0; i < run.pages; i++, from += kPageSize) {
      bool zero = is_zero_page(from);
      uint64_t stored = zero ? PlacedRun::kZero : static_cast<uint64_t>(to - data);
      bool joins = i > 0 && (placed->back().stored == PlacedRun::kZero) == zero;
      if (joins) {
        placed->back().pages++;
      } else {
        placed->push_back({run.start + i * kPageSize, 1, stored});
      }
      if (zero) continue;
      if (from != to) std::memcpy(to, from, kPageSize);
      to += kPageSize;
    }
  }
  return static_cast<uint64_t>(to - data);
}

}  // namespace

class PagePump::Buffer {
 public:
  char* data() { return bytes_.get(); }

 private:
  struct Free {
    void operator()(char* bytes) const { ::operator delete (bytes, std::align_val_t{kPageSize}); }
  };
  std::unique_ptr<char, Free> bytes_{
      static_cast<char*>(::operator new (kJobPages* kPageSize, std::align_val_t{kPageSize}))};
};

PagePump::PagePump(Fd output, std::string name, unsigned threads, uint64_t staging_bytes)
    : output_(std::move(output)),
      name_(std::move(name)),
      threads_(threads),
      staging_(staging_bytes) {}

PagePump::~PagePump() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    queue_.clear();
    stopping_ = true;
  }
  changed_.notify_all();
  helpers_.clear();
}

void PagePump::add(CopyJob* job) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (abandoned_) return;
  queue_.push_back(job);
  queued_pages_ += count_pages(job->runs);
  // A small dump is over before a thread has started.
  while (queued_pages_ > kWorthThreads && helpers_.size() + 1 < threads_) {
    helpers_.emplace_back([this] { help(); });
  }
  changed_.notify_one();
}

CopyJob* PagePump::next_job(std::unique_lock<std::mutex>& lock) {
  (void)lock;
  if (queue_.empty()) return nullptr;
  CopyJob* job = queue_.front();
  queue_.pop_front();
  running_++;
  return job;
}

void PagePump::finish_job(Result<> result) {
  running_--;
  if (result.ok() || !result_.ok()) return;
  result_ = std::move(result);
  queue_.clear();
}

void PagePump::help() {
  Buffer buffer;
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    CopyJob* job = next_job(lock);
    if (job == nullptr) return;
    lock.unlock();
    Result<> copied = copy(job, buffer);
    lock.lock();
    finish_job(std::move(copied));
    if (queue_.empty()) changed_.notify_all();
  }
}

Result<> PagePump::copy_now(CopyJob* job) {
  Buffer buffer;
  return copy(job, buffer);
}

Result<> PagePump::drain() {
  Buffer buffer;
  std::unique_lock<std::mutex> lock(mutex_);
  while (CopyJob* job = next_job(lock)) {
    lock.unlock();
    Result<> copied = copy(job, buffer);
    lock.lock();
    finish_job(std::move(copied));
  }
  changed_.wait(lock, [this] { return running_ == 0; });
  return std::exchange(result_, Result<>());
}

void PagePump::abandon() {
  std::lock_guard<std::mutex> lock(mutex_);
  queue_.clear();
  abandoned_ = true;
}

Result<> PagePump::write_staged() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    queue_.swap(staged_);
  }
  changed_.notify_all();
  return drain();
}

Result<> PagePump::copy(CopyJob* job, Buffer& buffer) {
  if (job->staged != nullptr) return write(job, job->staged);
  char* staged = staging_.take(count_pages(job->runs) * kPageSize);
  char* pages = staged != nullptr ? staged : buffer.data();
  if (job->pid != 0) {
    TRY(read_pages(job->pid, job->runs, pages));
  } else {
    TRY(read_object(*job->object, job->runs, pages));
  }
  // A task that is asked meanwhile may have been put on this CPU, behind us.
  ::sched_yield();
  if (staged == nullptr) return write(job, pages);
  job->staged = staged;
  std::lock_guard<std::mutex> lock(mutex_);
  staged_.push_back(job);
  return {};
}

Result<> PagePump::write(CopyJob* job, char* pages) {
  const uint64_t size = squeeze(job->runs, pages, &job->placed);
  if (size == 0) return {};
  uint64_t offset = 0;
  TRY(store(pages, size, &offset));
  for (PlacedRun& run : job->placed) {
    if (run.stored != PlacedRun::kZero) run.stored += offset;
  }
  return {};
}

Result<> PagePump::store(char* data, uint64_t size, uint64_t* offset) {
  StoredChunk chunk{next_offset_.fetch_add(size), size, checksum_of(data, size)};
  Result<> written = sys::pwrite_all(output_, data, size, chunk.offset);
  if (!written.ok()) {
    return explain_no_room(written.take_error().while_doing(name_), name_);
  }
  *offset = chunk.offset;
  std::lock_guard<std::mutex> lock(mutex_);
  chunks_.push_back(std::move(chunk));
  return {};
}

std::vector<StoredChunk> PagePump::take_chunks() {
  std::lock_guard<std::mutex> lock(mutex_);
  std::sort(chunks_.begin(), chunks_.end(),
            [](const StoredChunk& a, const StoredChunk& b) { return a.offset < b.offset; });
  return std::move(chunks_);
}

}  // namespace ncr
