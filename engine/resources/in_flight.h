// Files that no task of the image has at a number: they wait in the queue of a socket.
#pragma once

#include "engine/image/image_reader.h"

namespace ncr {

// FdRoom::late is for a file at a number; one that has none must be whole when connect() is done.
inline bool has_number(const Image& image, uint32_t file_id) {
  for (const schema::Task& task : image.tasks)
    for (const schema::Descriptor& descriptor : task.descriptors())
      if (descriptor.file_id() == file_id) return true;
  return false;
}

}  // namespace ncr
