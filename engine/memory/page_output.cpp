#include "engine/memory/page_output.h"

#include "engine/image/image_dir.h"

namespace ncr {

Result<> FileOutput::write(const char* data, uint64_t size, uint64_t offset) {
  Result<> written = sys::pwrite_all(file_, data, size, offset);
  if (written.ok()) return {};
  return explain_no_room(written.take_error().while_doing(path_), path_);
}

Result<> FileOutput::finish(uint64_t) { return {}; }

}  // namespace ncr
