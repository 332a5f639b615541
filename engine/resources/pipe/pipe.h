#pragma once

#include <vector>

#include "engine/resources/room.h"

namespace ncr::pipe {

// Capacity and bytes of a pipe or fifo; any descriptor of it. Nothing is taken out.
Result<> dump_content(const Fd& any_end, schema::PipeContent* content);
// Into a pipe that `writable` writes to.
Result<> fill(const Fd& writable, const schema::PipeContent& content);

// Descriptions of pipes whose other end exists, but not in this image: somebody outside holds it.
// Pure.
std::vector<uint32_t> cut_off(const std::vector<const schema::OpenFile*>& files);

}  // namespace ncr::pipe
