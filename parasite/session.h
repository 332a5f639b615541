// What the engine lays down in the area before it starts the blob; the blob's only state. Both
// sides include this header, and parasite_entry.S knows the first three offsets.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "pie/wire.h"

namespace parasite {

enum class Role : uint32_t { kLeader, kThread };

struct Session {
  uint64_t area;     // offset 0: start of the mapping
  uint64_t leave;    // offset 8: X or T of the springboard (docs/adr/0001)
  uint64_t flags;    // offset 16: the thread's own
  uint64_t request;  // kMaxDatagram bytes each, 8-byte aligned
  uint64_t reply;
  uint64_t request_size;  // thread only: the batch is there already
  Role role;
  uint32_t inside;     // leader's session only: PI futex, the number of the thread that is in the
                       // blob, 0 if none
  int32_t sockets[2];  // ours, the engine's
};
static_assert(sizeof(Session) == 64);
static_assert(offsetof(Session, leave) == 8 && offsetof(Session, flags) == 16);

// The blob comes first, then one Block for the leader and one for whichever thread is inside. Only
// pages that are used cost anything.
struct Block {
  unsigned char stack[64 * 1024 - sizeof(Session)];
  Session session;
  unsigned char request[wire::kMaxDatagram];
  unsigned char reply[wire::kMaxDatagram];
};
static_assert(sizeof(Block) % 4096 == 0);

}  // namespace parasite
