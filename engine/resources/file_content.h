// The bytes of a file whose content is in the image (an unlinked file, a file of a tmpfs).
#pragma once

#include <string>

#include "engine/image/image_reader.h"

namespace ncr {

// Runs in the child. Gives the empty file its size and what it held; holes stay holes. `content` is
// the id of its pages in pagemap.img, 0 if it held nothing.
Result<> write_content(const Image& image, uint64_t content, uint64_t size, const std::string& name,
                       const Fd& file);

}  // namespace ncr
