// A few hundred bytes of executable memory of a task that nothing uses.
#pragma once

#include <string_view>

#include "engine/base/ids.h"
#include "engine/base/result.h"

namespace ncr {

// The first bytes of whatever is written there, so that what a killed engine left behind is known
// again.
constexpr unsigned char kSpringboardMagic[8] = {'n', 'a', 't', 'i', 'v', 'e', 'c', 'r'};

// Where a stopped task has its vDSO, if that is known already.
struct KnownVdso {
  uint64_t start = 0;
  uint64_t size = 0;
};

Result<RemoteAddress> find_springboard_place(pid_t pid, KnownVdso known, size_t size);

// Pure: where a run of `size` unused bytes begins in the image of a vDSO (aligned to 16), 0 if
// there is none.
size_t unused_tail_of_vdso(std::string_view image, size_t size);

}  // namespace ncr
