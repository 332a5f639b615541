// Nothing like XSAVE here: each register set is a regset of its own, with a fixed layout.
#pragma once

#include <stdint.h>

namespace ncr::arch {

constexpr const char* kName = "aarch64";

struct XsaveComponent {
  uint32_t index;
  uint32_t offset;
  uint32_t size;
};

inline uint64_t xsave_mask() { return 0; }
inline XsaveComponent xsave_component(uint32_t index) { return {index, 0, 0}; }
inline uint32_t xsave_size() { return 0; }

}  // namespace ncr::arch
