// What the engine lays down in the area before it starts the blob; the blob's only state. Both
// sides include this header, and parasite_entry.S knows the first three offsets.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "pie/wire.h"

namespace parasite {

enum class Role : uint32_t { kLeader, kThread };

struct KernelSigaction {  // include/linux/signal_types.h, with SA_RESTORER
  uint64_t handler, flags, restorer, mask;
};
static_assert(sizeof(KernelSigaction) == 32);

struct Session {
  uint64_t area;     // offset 0: start of the mapping
  uint64_t leave;    // offset 8: X or T of the springboard (docs/adr/0001)
  uint64_t flags;    // offset 16: the thread's own
  uint64_t request;  // kMaxMessage bytes each, 8-byte aligned
  uint64_t reply;
  Role role;
  uint32_t inside;      // leader's session only: PI futex, the number of the thread that is in
                        // the blob, 0 if none
  int32_t stop_signal;  // by which the thread stops itself for the engine
  uint32_t borrow;      // whether that signal is to be ignored meanwhile,
  uint32_t borrowed;    // and is,
  uint32_t reply_size;
  KernelSigaction its_own;  // which is what it did before
  uint64_t request_size;    // 0: nothing is asked, and it leaves. Last, just before the request
};
static_assert(sizeof(Session) == 104);
static_assert(offsetof(Session, leave) == 8 && offsetof(Session, flags) == 16);
static_assert(offsetof(Session, request_size) + sizeof(uint64_t) == sizeof(Session));

// The blob comes first, then one Block for the leader and one for whichever thread is inside. Only
// pages that are used cost anything: a small request lies in one with the stack's first bytes.
struct Block {
  unsigned char stack[62 * 1024];
  Session session;
  unsigned char request[wire::kMaxMessage];
  unsigned char reply[wire::kMaxMessage];
  unsigned char rest[2 * 1024 - sizeof(Session)];
};
static_assert(sizeof(Block) % 4096 == 0 && sizeof(Session) % 8 == 0);

}  // namespace parasite
