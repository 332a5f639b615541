// A sound image with some bytes of its records changed and every checksum put right again: what an
// enemy can make.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/base/result.h"

namespace ncr {

// Each 4 bytes of `edits` change one place: the file, how (overwrite, insert, remove), two of
// offset; the value follows from them. Returns what Image::open() says. `dir` must exist; it is
// left empty, but for the image that the damaged one may be incremental to.
Result<> open_damaged(const char* dir, const uint8_t* edits, size_t size);

}  // namespace ncr
