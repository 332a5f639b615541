// The checksums of pages-1.img: a table of chunks that covers the file, and their verification.
#pragma once

#include "engine/base/sys.h"
#include "engine/memory/run_set.h"
#include "memory.pb.h"

namespace ncr {

constexpr uint64_t kMaxChunk = 1 << 20;

// Malformed: a chunk of no, a broken or too large a size; chunks that do not add up to the file.
Result<> check_chunk_table(const schema::ChunkTable& chunks, uint64_t file_size);

// Which bytes of the file were given up, as runs of pages; `start` is added to their offsets.
RunSet dropped_pages(const schema::ChunkTable& chunks, uint64_t start);

// What the checksum of a chunk is of: its dropped pages become zeroes.
void clear_dropped(const schema::Chunk& chunk, char* bytes);

// Reads all of the file. Malformed: names the first damaged place.
Result<> verify_chunks(const Fd& pages, const schema::ChunkTable& chunks);

}  // namespace ncr
