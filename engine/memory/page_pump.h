// Copies pages into pages-1.img with several threads: reads, leaves out zero pages, checksums,
// writes. As long as the staging area has room, what was read waits there to be written later.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <vector>

#include "engine/base/quiet_thread.h"
#include "engine/base/sys.h"
#include "engine/memory/run_set.h"
#include "engine/memory/staging_area.h"

namespace ncr {

// Where a run of pages ended up.
struct PlacedRun {
  static constexpr uint64_t kZero = ~uint64_t{0};
  uint64_t start = 0;
  uint64_t pages = 0;
  uint64_t stored = kZero;  // byte offset in pages-1.img
};

// At most PagePump::kJobPages pages of one task or object.
struct CopyJob {
  pid_t pid = 0;  // 0: read `object`
  const Fd* object = nullptr;
  RunSet runs;                    // addresses, or offsets in the object
  std::vector<PlacedRun> placed;  // the answer
  char* staged = nullptr;         // the pages, if they were read and not written yet
};

struct StoredChunk {
  uint64_t offset = 0;
  uint64_t size = 0;
  std::string checksum;
};

class [[nodiscard]] PagePump {
 public:
  static constexpr uint64_t kJobPages = 64;

  PagePump(Fd output, std::string name, unsigned threads, uint64_t staging_bytes);
  ~PagePump();  // drops what is queued, waits for what is under way

  // The job must stay where it is until write_staged().
  void add(CopyJob* job);
  // Copies at once, in this thread.
  Result<> copy_now(CopyJob* job);
  // Helps until the queue is empty: every page is read. Jobs may be added again afterwards.
  Result<> drain();
  // Drops what is queued. From any thread.
  void abandon();
  // Writes what waits in the staging area; then every job is done.
  Result<> write_staged();

  uint64_t bytes_written() const { return next_offset_; }
  // Ascending, without gaps. After write_staged().
  std::vector<StoredChunk> take_chunks();

 private:
  class Buffer;

  void help();
  CopyJob* next_job(std::unique_lock<std::mutex>& lock);
  void finish_job(Result<> result);
  Result<> copy(CopyJob* job, Buffer& buffer);
  Result<> write(CopyJob* job, char* pages);
  Result<> store(char* data, uint64_t size, uint64_t* offset);

  Fd output_;
  std::string name_;
  unsigned threads_;
  std::atomic<uint64_t> next_offset_{0};

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<CopyJob*> queue_;
  std::deque<CopyJob*> staged_;
  StagingArea staging_;
  uint64_t queued_pages_ = 0;  // ever
  unsigned running_ = 0;
  bool stopping_ = false;
  bool abandoned_ = false;
  Result<> result_;
  std::vector<StoredChunk> chunks_;
  std::vector<QuietThread> helpers_;
};

}  // namespace ncr
