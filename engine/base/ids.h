// Numbers whose confusion costs a day get a type of their own.
#pragma once

#include <compare>
#include <cstdint>

namespace ncr {

struct RemoteAddress {  // an address in the target's memory
  uint64_t value = 0;
  auto operator<=>(const RemoteAddress&) const = default;
  RemoteAddress operator+(uint64_t offset) const { return {value + offset}; }
};

enum class FdNumber : int {};  // a descriptor number in the target's table; ours are Fd
inline int raw(FdNumber number) { return static_cast<int>(number); }

constexpr uint64_t kPageSize = 4096;
constexpr uint64_t page_floor(uint64_t value) { return value & ~(kPageSize - 1); }
constexpr uint64_t page_ceil(uint64_t value) { return page_floor(value + kPageSize - 1); }

}  // namespace ncr
