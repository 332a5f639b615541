// Copies pages into pages-1.img with several threads: reads, sifts, checksums, writes. As long as
// the staging area has room, what was read waits there to be written later.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "engine/base/quiet_thread.h"
#include "engine/base/sys.h"
#include "engine/memory/page_output.h"
#include "engine/memory/page_sieve.h"
#include "engine/memory/run_set.h"
#include "engine/memory/staging_area.h"

namespace ncr {

// At most PagePump::kJobPages pages of one task or object.
struct CopyJob {
  pid_t pid = 0;  // 0: read `object`
  const Fd* object = nullptr;
  RunSet runs;                              // addresses, or offsets in the object
  const schema::PageMap* parent = nullptr;  // what the parent image has of this task or object
  bool remote = false;                      // pages that are not stored but served
  bool mapped_once = false;                 // every page is known to be mapped by this task only
  bool may_vanish = false;        // the task runs: what cannot be read (any more) is left out
  std::vector<PlacedRun> placed;  // the answer
  char* staged = nullptr;         // the pages, if they were read and not written yet
};

struct StoredChunk {
  uint64_t offset = 0;
  uint64_t size = 0;
  std::string checksum;
  std::string hashes;  // of its pages, if they are kept
};

struct PumpOptions {
  std::unique_ptr<PageOutput> output;
  std::unique_ptr<PageOutput> remote;  // of jobs that say so; may be null
  unsigned threads = 1;
  uint64_t staging_bytes = 0;
  const ParentPages* parent = nullptr;
  bool keep_hashes = false;
  uint64_t seed = 0;         // of the checksums
  bool compare_all = false;  // needs keep_hashes: pages of equal content are stored once
};

class [[nodiscard]] PagePump {
 public:
  static constexpr uint64_t kJobPages = 64;

  explicit PagePump(PumpOptions options);
  ~PagePump();  // drops what is queued, waits for what is under way

  // The job must stay where it is until write_staged().
  void add(CopyJob* job);
  // Copies at once, in this thread.
  Result<> copy_now(CopyJob* job);
  // Copies while there is something in the queue.
  void lend_a_hand();
  // Helps until the queue is empty: every page is read. Jobs may be added again afterwards.
  Result<> drain();
  // Drops what is queued. From any thread.
  void abandon();
  // Writes what waits in the staging area; then every job is done.
  Result<> write_staged();

  // Everything written is where it belongs.
  Result<> finish();

  uint64_t bytes_written() const { return next_offset_; }
  uint64_t bytes_remote() const { return next_remote_; }
  // Ascending, without gaps. After write_staged().
  std::vector<StoredChunk> take_chunks();

 private:
  class Buffer;

  void help();
  CopyJob* next_job(std::unique_lock<std::mutex>& lock);
  void finish_job(Result<> result);
  void work_off(std::unique_lock<std::mutex>& lock);
  Result<> copy(CopyJob* job, Buffer& buffer);
  Result<> write(CopyJob* job, char* pages);
  Result<> read(CopyJob* job, char* pages);
  Result<uint64_t> store(const char* data, Sifted sifted);
  void remember(const std::string& hashes, uint64_t offset);
  Result<uint64_t> store_remote(const char* data, uint64_t size);

  PumpOptions options_;
  KnownPages known_;
  std::atomic<uint64_t> next_offset_{0};
  std::atomic<uint64_t> next_remote_{0};

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
