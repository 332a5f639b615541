// What the checksums cannot vouch for: that the records of an image fit together. Pure.
#include "engine/image/image_reader.h"

namespace ncr {

Result<> check_consistency(const Image& image) {
  if (image.tasks.empty()) return Error::malformed("tasks.img: no task");
  return {};
}

}  // namespace ncr
