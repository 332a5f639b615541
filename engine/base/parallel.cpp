#include "engine/base/parallel.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <vector>

#include "engine/base/quiet_thread.h"

namespace ncr {
namespace {

constexpr size_t kAtOnce = 8;  // calls that a thread takes on together
constexpr size_t kWorthAThread = 32;

}  // namespace

Result<> in_parallel(size_t count, unsigned threads, const std::function<Result<>(size_t)>& body) {
  std::atomic<size_t> next{0};
  std::mutex mutex;
  size_t failed = count;
  Result<> outcome;
  auto work = [&] {
    for (size_t first = next.fetch_add(kAtOnce); first < count; first = next.fetch_add(kAtOnce)) {
      for (size_t i = first; i < std::min(first + kAtOnce, count); i++) {
        Result<> done = body(i);
        if (done.ok()) continue;
        next = count;
        std::lock_guard lock(mutex);
        if (i < failed) {
          failed = i;
          outcome = std::move(done);
        }
        return;
      }
    }
  };
  {
    std::vector<QuietThread> helpers;
    const size_t wanted = std::min<size_t>(threads, count / kWorthAThread);
    for (size_t i = 1; i < wanted; i++) helpers.emplace_back(work);
    work();
  }
  return outcome;
}

}  // namespace ncr
