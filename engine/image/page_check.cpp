// Verifies page payload, two threads side by side: the checksum runs at memory speed, so one thread
// would leave half of the bandwidth unused. pread(2) into a small buffer rather than a mapping: no
// page faults, and a file that shrinks meanwhile is an error rather than a SIGBUS.
#include "engine/image/page_check.h"

#include <atomic>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

#include "engine/base/ids.h"
#include "engine/base/quiet_thread.h"
#include "engine/image/record_file.h"

namespace ncr {
namespace {

constexpr uint64_t kAlone = 8 << 20;  // below, a second thread costs more than it brings

class Verification {
 public:
  Verification(const Fd& pages, const schema::ChunkTable& chunks) : pages_(pages), chunks_(chunks) {
    offsets_.reserve(static_cast<size_t>(chunks.chunks_size()));
    for (const schema::Chunk& chunk : chunks.chunks()) {
      offsets_.push_back(total_);
      total_ += chunk.size();
    }
  }

  uint64_t total() const { return total_; }

  void run() {
    std::vector<char> buffer(kMaxChunk);
    for (int i; (i = next_++) < chunks_.chunks_size();) {
      if (damaged_) return;
      Result<> good = verify(i, buffer.data());
      if (good.ok()) continue;
      std::lock_guard<std::mutex> lock(mutex_);
      if (!damaged_) result_ = std::move(good);
      damaged_ = true;
    }
  }

  Result<> take_result() { return std::move(result_); }

 private:
  Result<> verify(int i, char* buffer) {
    const schema::Chunk& chunk = chunks_.chunks(i);
    uint64_t offset = offsets_[static_cast<size_t>(i)];
    TRY(sys::pread_exact(pages_, buffer, chunk.size(), offset));
    clear_dropped(chunk, buffer);
    if (checksum_of(buffer, chunk.size()) == chunk.xxh3_128()) return {};
    const unsigned long long start = offset, end = offset + chunk.size();
    return Error::malformed(strf("damaged between byte %llu and %llu", start, end));
  }

  const Fd& pages_;
  const schema::ChunkTable& chunks_;
  std::vector<uint64_t> offsets_;
  uint64_t total_ = 0;
  std::atomic<int> next_{0};
  std::atomic<bool> damaged_{false};
  std::mutex mutex_;
  Result<> result_;
};

bool is_dropped(const schema::Chunk& chunk, uint64_t page) {
  const size_t byte = page / 8;
  return byte < chunk.dropped().size() &&
         (static_cast<unsigned char>(chunk.dropped()[byte]) >> (page % 8) & 1) != 0;
}

}  // namespace

RunSet dropped_pages(const schema::ChunkTable& chunks, uint64_t start) {
  RunSet dropped;
  for (const schema::Chunk& chunk : chunks.chunks()) {
    if (!chunk.dropped().empty())
      for (uint64_t page = 0; page < chunk.size() / kPageSize; page++)
        if (is_dropped(chunk, page))
          append(&dropped, start + page * kPageSize, start + (page + 1) * kPageSize);
    start += chunk.size();
  }
  return dropped;
}

void clear_dropped(const schema::Chunk& chunk, char* bytes) {
  if (chunk.dropped().empty()) return;
  for (uint64_t page = 0; page < chunk.size() / kPageSize; page++)
    if (is_dropped(chunk, page)) std::memset(bytes + page * kPageSize, 0, kPageSize);
}

Result<> check_chunk_table(const schema::ChunkTable& chunks, uint64_t file_size) {
  uint64_t total = 0;
  for (int i = 0; i < chunks.chunks_size(); i++) {
    const schema::Chunk& chunk = chunks.chunks(i);
    if (chunk.size() == 0 || chunk.size() > kMaxChunk || chunk.size() % kPageSize != 0 ||
        chunk.xxh3_128().size() != kChecksumSize) {
      return Error::malformed(strf("chunk %d is not sound", i));
    }
    total += chunk.size();
  }
  if (total == file_size) return {};
  return Error::malformed(strf("its chunks are %llu bytes, the pages file has %llu",
                               static_cast<unsigned long long>(total),
                               static_cast<unsigned long long>(file_size)));
}

Result<> verify_chunks(const Fd& pages, const schema::ChunkTable& chunks) {
  Verification verification(pages, chunks);
  if (verification.total() <= kAlone) {
    verification.run();
  } else {
    QuietThread second([&] { verification.run(); });
    verification.run();
  }
  return verification.take_result();
}

}  // namespace ncr
