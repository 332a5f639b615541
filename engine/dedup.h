// Pages that only an image's ancestors have, and nobody needs any more.
#pragma once

#include <cstdint>
#include <string>

#include "engine/base/result.h"

namespace ncr {

struct DedupReport {
  uint64_t pages = 0;  // given up now
};

// Of the ancestors of the image in `images_dir` only what it uses is kept. They can no longer be
// restored by themselves.
Result<DedupReport> dedup(const std::string& images_dir);

}  // namespace ncr
