// What this CPU keeps for a thread beyond the general registers: the XSAVE components and where
// each lies in the standard format, which differs between makers (Intel leaves the places of MPX
// free, AMD does not).
#pragma once

#include <cpuid.h>
#include <stdint.h>

namespace ncr::arch {

constexpr const char* kName = "x86_64";

struct XsaveComponent {
  uint32_t index;
  uint32_t offset;
  uint32_t size;
};

// Components that the kernel lets programs use (XCR0).
inline uint64_t xsave_mask() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kOsxsave = 1u << 27;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & kOsxsave) == 0) return 0;
  uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<uint64_t>(high) << 32 | low;
}

inline XsaveComponent xsave_component(uint32_t index) {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(0xd, index, &a, &b, &c, &d) == 0) return {index, 0, 0};
  return {index, b, a};
}

// Bytes of an area that holds all of them.
inline uint32_t xsave_size() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(0xd, 0, &a, &b, &c, &d) == 0 ? 0 : b;
}

}  // namespace ncr::arch
