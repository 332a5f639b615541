// A few hundred bytes of executable memory of a task that nothing uses.
#pragma once

#include <string_view>

#include "engine/base/ids.h"
#include "engine/base/result.h"

namespace ncr {

// The first bytes of whatever is written there, so that what a killed engine left behind is known
// again.
constexpr unsigned char kSpringboardMagic[8] = {'n', 'a', 't', 'i', 'v', 'e', 'c', 'r'};

// What is known already of a stopped task's vDSO.
struct KnownVdso {
  uint64_t start = 0;
  uint64_t size = 0;
  uint64_t zeroes = 0;  // where its end of nothing but zeroes begins, an offset; 0: not known
};

Result<RemoteAddress> find_springboard_place(pid_t pid, KnownVdso known, size_t size);

// Pure: what `image`, the vDSO at `start`, spares find_springboard_place().
KnownVdso known_vdso(uint64_t start, std::string_view image);

// Pure: where a run of `size` unused bytes begins in the image of a vDSO (aligned to 16), 0 if
// there is none.
size_t unused_tail_of_vdso(std::string_view image, size_t size);

}  // namespace ncr
