// restorer: what every part of the blob needs of the task being born.
#pragma once

#include "pie/syscall.h"
#include "restorer/args.h"

namespace restorer {

struct Session {
  wire::RestorerArgs* args;
  const wire::ThreadArgs* thread;  // the one we are

  wire::SyncHeader* sync() const { return reinterpret_cast<wire::SyncHeader*>(args->sync); }
  wire::TaskSlot* task() const {
    return reinterpret_cast<wire::TaskSlot*>(args->sync + sync()->task_slots) + args->task;
  }
  wire::ThreadSlot* slot() const {
    auto* slots = reinterpret_cast<wire::ThreadSlot*>(args->sync + sync()->thread_slots);
    return slots + task()->first_thread + thread->index;
  }
};

// Where it went wrong, for the coordinator; the whole task exits.
[[noreturn]] void fail(const Session& session, uint32_t step, int error, uint64_t detail);
[[noreturn]] inline void fail(const Session& session, wire::Act act, int error, uint64_t detail) {
  fail(session, static_cast<uint32_t>(act), error, detail);
}

void move_memory(const Session& session);                              // memory.cpp
void run_steps(const Session& session, const wire::StepBytes& steps);  // steps.cpp
void wake(uint32_t* word);

}  // namespace restorer
