// What engine and parasite say to each other, in the parasite's buffers. Both sides include this
// header; sizes are pinned. One message carries a batch: a BatchHeader, then `count` items, each an
// ItemHeader and its payload padded to 8 bytes. The answer has the same shape, one item per item
// asked, in order.
//
// A command is a struct with kId, Request and Reply (both trivially copyable), declared in the
// header of its room and listed in pie/commands.inc; the room's x.parasite.cpp defines  pie::Ret
// handle(const X::Request&, X::Reply&)  in the room's namespace ncr::<room>.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace wire {

constexpr uint32_t kVersion = 1;
constexpr size_t kMaxMessage = 64 << 10;

struct BatchHeader {
  uint32_t version;
  uint32_t count;
};
static_assert(sizeof(BatchHeader) == 8);

struct ItemHeader {
  uint32_t id;     // the command's kId
  int32_t status;  // in an answer: 0 or -errno
  uint32_t size;   // payload bytes that follow, before padding
  uint32_t reserved;
};
static_assert(sizeof(ItemHeader) == 16);

// The number of a command or step, from its name ("posix_timer.GetTimers"): a clash is a duplicate
// case label in the blob.
consteval uint32_t id(const char* name) {
  uint32_t hash = 2166136261u;
  for (; *name != 0; name++) hash = (hash ^ static_cast<unsigned char>(*name)) * 16777619u;
  return hash;
}

constexpr size_t padded(size_t size) { return (size + 7) & ~size_t{7}; }

}  // namespace wire
