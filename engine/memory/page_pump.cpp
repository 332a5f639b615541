// The page pump: from a task's memory into a buffer that stays in the second-level cache, then from
// there into the image. Runs in the engine, in its own threads and in the caller's.
#include "engine/memory/page_pump.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "engine/base/ids.h"
#include "engine/image/record_file.h"
#include "engine/memory/page_reader.h"

namespace ncr {
namespace {

constexpr uint64_t kWorthThreads = (4 << 20) / kPageSize;  // pages

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

// Page by page: what the task has unmapped meanwhile is left out.
void read_what_is_left(pid_t pid, RunSet* runs, char* to) {
  RunSet left;
  for (const AddressRun& run : *runs)
    for (uint64_t at = run.start; at < run.end(); at += kPageSize) {
      if (!read_pages(pid, {{at, 1}}, to).ok()) continue;
      append(&left, at, at + kPageSize);
      to += kPageSize;
    }
  *runs = std::move(left);
}

}  // namespace

class PagePump::Buffer {
 public:
  char* data() {
    if (!bytes_)
      bytes_.reset(
          static_cast<char*>(::operator new (kJobPages* kPageSize, std::align_val_t{kPageSize})));
    return bytes_.get();
  }

 private:
  struct Free {
    void operator()(char* bytes) const { ::operator delete (bytes, std::align_val_t{kPageSize}); }
  };
  std::unique_ptr<char, Free> bytes_;  // once needed: staged pages need none
};

PagePump::PagePump(PumpOptions options)
    : options_(std::move(options)), staging_(options_.staging_bytes) {}

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
  while (queued_pages_ > kWorthThreads && helpers_.size() + 1 < options_.threads) {
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
  if (!result.ok() && result_.ok()) {
    result_ = std::move(result);
    queue_.clear();
  }
  if (queue_.empty()) changed_.notify_all();
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
  }
}

Result<> PagePump::copy_now(CopyJob* job) {
  Buffer buffer;
  return copy(job, buffer);
}

void PagePump::lend_a_hand() {
  std::unique_lock<std::mutex> lock(mutex_);
  work_off(lock);
}

void PagePump::work_off(std::unique_lock<std::mutex>& lock) {
  Buffer buffer;
  while (CopyJob* job = next_job(lock)) {
    lock.unlock();
    Result<> copied = copy(job, buffer);
    lock.lock();
    finish_job(std::move(copied));
  }
}

Result<> PagePump::drain() {
  std::unique_lock<std::mutex> lock(mutex_);
  work_off(lock);
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
  TRY(read(job, pages));
  // A task that is asked meanwhile may have been put on this CPU, behind us.
  ::sched_yield();
  if (staged == nullptr) return write(job, pages);
  job->staged = staged;
  std::lock_guard<std::mutex> lock(mutex_);
  staged_.push_back(job);
  return {};
}

Result<> PagePump::read(CopyJob* job, char* pages) {
  if (job->pid == 0) return read_object(*job->object, job->runs, pages);
  const Mapped mapped = job->mapped_once ? Mapped::kOnce : Mapped::kUnknown;
  Result<> done = read_pages(job->pid, job->runs, pages, mapped);
  if (!done.ok() && job->may_vanish) {
    read_what_is_left(job->pid, &job->runs, pages);
    return {};
  }
  return done;
}

Result<> PagePump::write(CopyJob* job, char* pages) {
  const Sieve sieve{.parent = options_.parent,
                    .parent_map = job->parent,
                    .keep_hashes = options_.keep_hashes && !job->remote,
                    .seed = options_.seed,
                    .known = options_.compare_all && !job->remote ? &known_ : nullptr};
  Sifted sifted = sift(sieve, job->runs, pages);
  job->placed = std::move(sifted.runs);
  uint64_t offset = 0;
  if (sifted.bytes > 0)
    offset = TRY(job->remote ? store_remote(pages, sifted.bytes) : store(pages, std::move(sifted)));
  for (PlacedRun& run : job->placed) {
    using Place = PlacedRun::Place;
    if (run.place == Place::kKnown) {
      run.place = Place::kStored;
    } else if (run.place == Place::kStored) {
      run.offset += offset;
      if (job->remote) run.place = Place::kRemote;
    }
  }
  return {};
}

Result<uint64_t> PagePump::store(const char* data, Sifted sifted) {
  const uint64_t size = sifted.bytes;
  StoredChunk chunk{next_offset_.fetch_add(size), size, checksum_of(data, size),
                    std::move(sifted.hashes)};
  const uint64_t offset = chunk.offset;
  TRY(options_.output->write(data, size, offset));
  if (options_.compare_all) remember(chunk.hashes, offset);
  std::lock_guard<std::mutex> lock(mutex_);
  chunks_.push_back(std::move(chunk));
  return offset;
}

void PagePump::remember(const std::string& hashes, uint64_t offset) {
  PageHash hash;
  for (size_t at = 0; at < hashes.size(); at += hash.size(), offset += kPageSize) {
    std::memcpy(hash.data(), hashes.data() + at, hash.size());
    known_.add(hash, offset);
  }
}

Result<uint64_t> PagePump::store_remote(const char* data, uint64_t size) {
  const uint64_t offset = next_remote_.fetch_add(size);
  TRY(options_.remote->write(data, size, offset));
  return offset;
}

Result<> PagePump::finish() {
  TRY(options_.output->finish(next_offset_));
  if (options_.remote != nullptr) TRY(options_.remote->finish(next_remote_));
  return {};
}

std::vector<StoredChunk> PagePump::take_chunks() {
  std::lock_guard<std::mutex> lock(mutex_);
  std::sort(chunks_.begin(), chunks_.end(),
            [](const StoredChunk& a, const StoredChunk& b) { return a.offset < b.offset; });
  return std::move(chunks_);
}

}  // namespace ncr
