// What the engine asks of the restorer: a flat list of tagged PODs, executed in order, once per
// task and once per thread.
//
// A step is a trivially copyable struct with kId, declared in the header of its room and listed in
// pie/steps.inc; the room's x.restorer.cpp defines  pie::Ret run(const X&)  in the room's namespace
// ncr::<room>. kId = wire::id("room.Step"). Stages order the list: within a stage, steps keep the
// order they were added in.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "pie/wire.h"

namespace wire {

// Order of a process with many threads: process steps of kMemory and kProcess in the leader;
// threads are created; kThread in every thread; when all tasks of the tree have come that far,
// process steps of kLate in the leader; kLate in every thread; kCredentials in every thread;
// process steps of kCredentials in the leader. Each "in every thread" is over in all of them before
// the next begins.
enum class Stage : uint32_t {
  kMemory,       // right after the VMAs moved to their final places (leader)
  kProcess,      // once per process, single-threaded: signal actions, limits of memory ... (leader)
  kThread,       // in every thread: robust list, rseq, altstack, name, scheduling
  kLate,         // everything that time or signals may touch: timers armed, pending signals queued
  kCredentials,  // ids, capabilities, no_new_privs, dumpable, pdeathsig: last, in every thread
};

struct StepHeader {
  uint32_t id;    // the step's kId
  uint32_t size;  // payload bytes that follow, before padding to 8
};
static_assert(sizeof(StepHeader) == 8);

}  // namespace wire
