// The mapping that the restorer runs in: blob, arguments, stacks and the shared page, in one range
// of addresses, so that one munmap ends it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/memory/sync_page.h"
#include "restorer/args.h"

namespace ncr {

class RestorerArea {
 public:
  // Bytes that create() needs for `payload` bytes of put() in `pieces` calls, and `threads` stacks.
  static uint64_t size_for(uint64_t payload, uint64_t pieces, uint64_t threads,
                           const SyncPage& sync);
  static Result<RestorerArea> create(uint64_t address, uint64_t size, const SyncPage& sync);

  // Copies into the area; returns the address there.
  uint64_t put(const void* data, size_t size);
  template <class T>
  wire::Array<T> put(const std::vector<T>& items) {
    return {put(items.data(), items.size() * sizeof(T)), items.size()};
  }
  wire::StepBytes put_steps(const std::string& encoded) {
    return {put(encoded.data(), encoded.size()), encoded.size()};
  }
  uint64_t take_stack();  // lowest address of kStackSize bytes

  uint64_t entry() const { return address_; }
  uint64_t address() const { return address_; }
  uint64_t size() const { return size_; }
  uint64_t sync_address() const { return sync_; }

  static constexpr uint64_t kStackSize = 16 << 10;

 private:
  RestorerArea(uint64_t address, uint64_t size, uint64_t data, uint64_t sync)
      : address_(address), size_(size), next_(data), stacks_(sync), sync_(sync) {}
  uint64_t address_;
  uint64_t size_;
  uint64_t next_;    // data grows up ...
  uint64_t stacks_;  // ... and stacks are taken downwards
  uint64_t sync_;
};

}  // namespace ncr
