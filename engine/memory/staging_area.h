// Memory of the engine in which pages of the target wait, so that the tree can run on before they
// are written. Made before the freeze: the first touch of memory is slow, and frozen time counts.
#pragma once

#include <atomic>
#include <cstdint>

namespace ncr {

class [[nodiscard]] StagingArea {
 public:
  explicit StagingArea(uint64_t capacity);  // bytes; less, or nothing, where there is no memory
  StagingArea(const StagingArea&) = delete;
  StagingArea& operator=(const StagingArea&) = delete;
  ~StagingArea();

  // Page-aligned room for `size` bytes, null if it is full. From any thread.
  char* take(uint64_t size);

 private:
  char* base_ = nullptr;
  uint64_t capacity_ = 0;
  std::atomic<uint64_t> used_{0};
};

}  // namespace ncr
