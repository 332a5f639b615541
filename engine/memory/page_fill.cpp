// Runs in the child and in the coordinator. What costs is the first touch of each page. Populating
// 2 MiB at once (MADV_POPULATE_WRITE) and then reading into them beats letting the copy of read(2)
// fault page by page; both beat mapping the file and copying. Neighbours in the file are read with
// one preadv, since the pages of a fragmented address space follow each other there.
#include "engine/memory/page_fill.h"

#include <sys/mman.h>
#include <sys/uio.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <thread>

#include "engine/base/sys.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

namespace ncr {
namespace {

constexpr uint64_t kBatchBytes = 2 << 20;
constexpr uint64_t kReadBytes = 256 << 10;  // what was populated is in the cache still
constexpr size_t kBatchSpans = 64;
constexpr uint64_t kWorthPopulating = 64 << 10;
constexpr uint64_t kWorthThread = 16 << 20;  // bytes per thread beyond the first

struct Batch {  // spans [first, end), consecutive in the file
  size_t first;
  size_t end;
};

std::vector<FillSpan> cut(std::vector<FillSpan> spans) {
  std::sort(spans.begin(), spans.end(),
            [](const FillSpan& a, const FillSpan& b) { return a.offset < b.offset; });
  std::vector<FillSpan> pieces;
  for (FillSpan span : spans) {
    while (span.size > kBatchBytes) {
      // Pieces end at multiples of 2 MiB, so that a huge page is not filled by two threads.
      const uint64_t size = kBatchBytes - span.to % kBatchBytes;
      pieces.push_back({span.to, size, span.offset, span.anonymous});
      span = {span.to + size, span.size - size, span.offset + size, span.anonymous};
    }
    pieces.push_back(span);
  }
  return pieces;
}

std::vector<Batch> batches_of(const std::vector<FillSpan>& spans) {
  std::vector<Batch> batches;
  uint64_t bytes = 0;
  for (size_t i = 0; i < spans.size(); i++) {
    const bool joins =
        !batches.empty() && spans[i - 1].offset + spans[i - 1].size == spans[i].offset &&
        i - batches.back().first < kBatchSpans && bytes + spans[i].size <= kBatchBytes;
    if (!joins) {
      batches.push_back({i, i});
      bytes = 0;
    }
    batches.back().end = i + 1;
    bytes += spans[i].size;
  }
  return batches;
}

Result<> read_spans(int fd, const FillSpan* spans, size_t count) {
  iovec vectors[kBatchSpans];
  for (size_t i = 0; i < count; i++) {
    auto* to = reinterpret_cast<void*>(spans[i].to);
    vectors[i] = {to, spans[i].size};
    // Only a matter of speed: an old kernel or a lack of memory shows in the read.
    if (spans[i].anonymous && spans[i].size >= kWorthPopulating)
      (void)::madvise(to, spans[i].size, MADV_POPULATE_WRITE);
  }
  uint64_t offset = spans[0].offset;
  for (size_t i = 0; i < count;) {
    ssize_t got = TRY(
        SYSCALL(::preadv(fd, vectors + i, static_cast<int>(count - i), static_cast<off_t>(offset)),
                "read pages into %p", vectors[i].iov_base));
    if (got == 0) return Error::malformed("pages-1.img ends early");
    offset += static_cast<uint64_t>(got);
    for (auto left = static_cast<size_t>(got); left > 0;) {
      const size_t part = std::min(left, vectors[i].iov_len);
      vectors[i] = {static_cast<char*>(vectors[i].iov_base) + part, vectors[i].iov_len - part};
      left -= part;
      if (vectors[i].iov_len == 0) i++;
    }
  }
  return {};
}

Result<> read_batch(int fd, const FillSpan* spans, size_t count) {
  if (count > 1) return read_spans(fd, spans, count);
  for (uint64_t done = 0; done < spans->size; done += kReadBytes) {
    const FillSpan part{spans->to + done, std::min(spans->size - done, kReadBytes),
                        spans->offset + done, spans->anonymous};
    TRY(read_spans(fd, &part, 1));
  }
  return {};
}

// Work that threads take from one after the other, and the first error of any.
struct Work {
  int fd;
  const std::vector<FillSpan>& spans;
  const std::vector<Batch>& batches;
  std::atomic<size_t> next{0};
  std::mutex mutex;
  Result<> result;

  void run() {
    for (size_t at = next++; at < batches.size(); at = next++) {
      const Batch& batch = batches[at];
      Result<> done = read_batch(fd, spans.data() + batch.first, batch.end - batch.first);
      if (done.ok()) continue;
      next = batches.size();
      std::lock_guard lock(mutex);
      if (result.ok()) result = std::move(done);
    }
  }
};

unsigned useful_threads(unsigned asked, uint64_t bytes) {
  const unsigned most = asked != 0 ? asked : std::min(std::thread::hardware_concurrency(), 4u);
  const uint64_t worth = 1 + bytes / kWorthThread;
  return static_cast<unsigned>(std::clamp<uint64_t>(worth, 1, std::max(most, 1u)));
}

}  // namespace

Result<> fill_pages(int fd, std::vector<FillSpan> spans, unsigned threads) {
  uint64_t bytes = 0;
  for (const FillSpan& span : spans) bytes += span.size;
  const std::vector<FillSpan> pieces = cut(std::move(spans));
  const std::vector<Batch> batches = batches_of(pieces);
  Work work{.fd = fd, .spans = pieces, .batches = batches, .mutex = {}, .result = {}};
  std::vector<std::thread> helpers;
  for (unsigned i = 1; i < useful_threads(threads, bytes); i++)
    helpers.emplace_back([&work] { work.run(); });
  work.run();
  for (std::thread& helper : helpers) helper.join();
  return std::move(work.result);
}

Result<> fill_pages(const PageFiles& files, const std::vector<FillSpan>& spans, unsigned threads) {
  std::map<int, std::vector<FillSpan>> by_file;
  for (const FillSpan& span : spans) {
    const PageFiles::Piece piece = TRY(files.find(span.offset, span.size));
    if (piece.fd < 0)
      return Error::unsupported(
          "the pages of this image are where it was dumped: restore it with "
          "lazy pages, from the dump that serves them");
    by_file[piece.fd].push_back({span.to, span.size, piece.offset, span.anonymous});
  }
  for (auto& [fd, in_file] : by_file) TRY(fill_pages(fd, std::move(in_file), threads));
  return {};
}

}  // namespace ncr
