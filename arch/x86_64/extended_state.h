// What of the extended state a thread has in use, from its NT_X86_XSTATE regset. Pure.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>

namespace ncr::arch {

// XSTATE_BV, the first word of the XSAVE header behind the 512 bytes of the legacy area (Intel SDM
// vol. 1, 13.4.2).
inline uint64_t components_in_use(const std::string& regset) {
  constexpr size_t kHeader = 512;
  uint64_t components = 0;
  if (regset.size() >= kHeader + sizeof components)
    std::memcpy(&components, regset.data() + kHeader, sizeof components);
  return components;
}

}  // namespace ncr::arch
