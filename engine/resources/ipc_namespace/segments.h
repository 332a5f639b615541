// System V shared memory segments: dump and making.
#pragma once

#include "engine/image/image_reader.h"
#include "engine/memory/shared_memory_table.h"
#include "ipc_namespace.pb.h"

namespace ncr::ipc_namespace {

// A segment of the namespace that this thread is in; its bytes go to `content`, under an id that
// only this namespace uses.
Result<> dump_segment(int id, uint64_t namespace_inode, SharedMemoryTable& content,
                      schema::SharedSegment* segment);
Result<> dump_segments(uint64_t namespace_inode, SharedMemoryTable& content,
                       schema::IpcNamespace* record);

// Makes it with its bytes. One that is to go with its last attachment is marked so by
// mark_removed(), once it has one.
Result<> make_segment(const schema::SharedSegment& segment, const Image& image, unsigned threads);
Result<> mark_removed(const schema::SharedSegment& segment);

}  // namespace ncr::ipc_namespace
