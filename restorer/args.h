// What the restorer blob is given, and the memory it shares with the coordinator. Included by both
// sides; sizes are pinned.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "pie/wire.h"

namespace wire {

// First, what the coordinator shares with every task being born (MAP_SHARED).

enum class ThreadState : uint32_t {
  kUnborn,
  kReady,   // memory and threads stand; waits for the gate
  kParked,  // every step is done; waits for its registers, by ptrace
  kExited,  // the leader of a group whose leader had exited: a zombie again
  kFailed,
};

struct ThreadSlot {
  int32_t tid;
  uint32_t state;   // ThreadState
  uint32_t step;    // kFailed: kId of the step (pie/steps.inc) or of an Act below
  int32_t error;    // kFailed: positive errno
  uint64_t detail;  // kFailed: the address or number it was about
  uint64_t reserved;
};
static_assert(sizeof(ThreadSlot) == 32);

struct TaskSlot {
  int32_t pid;
  uint32_t first_thread;  // index of the leader's ThreadSlot; the others follow as in the record
  uint32_t threads;
  uint32_t arrived;  // futex: threads that came to a barrier; counts on from one to the next
  uint64_t area;     // blob, its data and stacks, this sync page: the coordinator munmaps it
  uint64_t area_size;
  uint64_t syscall_address;  // of a system call instruction that stays mapped, for stepping
  uint64_t vdso;             // where it is to be unmapped from, last of all ...
  uint64_t vdso_size;        // ... 0: it stays
  uint64_t reported;         // not 0: failed before the restorer, and SyncHeader::text may be of it
};
static_assert(sizeof(TaskSlot) == 64);

// Who may not choose a process number on every level asks the coordinator's desk for help
// (engine/tree/number_desk.h), one at a time: asked -> set or failed, made -> right or wrong.
enum class DeskState : uint32_t { kIdle, kAsked, kSet, kFailed, kMade, kRight, kWrong };

struct NumberDesk {
  uint32_t lock;    // futex: 0 free, 1 taken
  uint32_t state;   // futex: DeskState
  uint32_t task;    // whose number, index of its TaskSlot
  uint32_t thread;  // index in the record; 0: the process itself
};
static_assert(sizeof(NumberDesk) == 16);

struct SyncHeader {
  uint32_t tasks;
  uint32_t threads;
  uint32_t abort;   // set by the coordinator: whoever waits at the gate exits
  uint32_t failed;  // threads that failed
  uint32_t ready;   // threads that reached the gate
  uint32_t parked;  // threads in kParked or kExited
  uint32_t gate;    // futex: 0 closed, 1 open
  uint32_t event;   // futex of the coordinator: bumped when all are ready or parked, or one failed
  uint32_t counters[16];  // for stages before the restorer; the process tree gives them a meaning
  uint64_t task_slots;    // byte offsets from the header
  uint64_t thread_slots;
  uint32_t text_state;  // the first failure before the restorer: 0 none, 1 half written, 2 there
  int32_t text_code;    // its ErrorCode
  char text[1000];
  NumberDesk desk;
};
static_assert(sizeof(SyncHeader) == 1136);

// The rest is private to one task.

struct AddressRange {
  uint64_t start;
  uint64_t end;
};

struct Move {
  uint64_t from;
  uint64_t to;
  uint64_t size;
};

struct Lock {
  uint64_t start;
  uint64_t size;
  uint32_t flags;         // MLOCK_ONFAULT or 0
  uint32_t inaccessible;  // PROT_NONE: the kernel locks it and still says ENOMEM
};

template <class T>
struct Array {
  uint64_t address;
  uint64_t count;
  const T* begin() const { return reinterpret_cast<const T*>(address); }
  const T* end() const { return begin() + count; }
};

struct StepBytes {  // StepHeaders and payloads of one stage, in order
  uint64_t address;
  uint64_t size;
};

// The steps of a process or of a thread.
struct StepSet {
  StepBytes process;      // Stage::kMemory and kProcess
  StepBytes thread;       // Stage::kThread
  StepBytes late;         // Stage::kLate
  StepBytes credentials;  // Stage::kCredentials
};

struct ThreadArgs {
  int32_t tid;             // as the image has it
  uint32_t index;          // in the record; 0 is the leader
  Array<int32_t> numbers;  // set_tid of clone3(2): in our own pid namespace, then in those above
                           // as far as we may choose
  uint64_t stack;          // lowest address of its stack in the area
  uint64_t stack_size;
  uint64_t park;      // futex word of its own in the area; stays 0 for ever
  uint64_t restorer;  // RestorerArgs
  StepSet steps;
};

// Source: struct prctl_mm_map of linux/prctl.h.
struct MmMap {
  uint64_t start_code, end_code, start_data, end_data, start_brk, brk, start_stack;
  uint64_t arg_start, arg_end, env_start, env_end;
  uint64_t auxv;  // address
  uint32_t auxv_size;
  uint32_t exe_fd;  // all ones: keep
};

struct RestorerArgs {
  uint64_t sync;              // SyncHeader
  uint32_t task;              // index of our TaskSlot
  uint32_t dead_leader;       // the leader exits again once every step is done
  Array<AddressRange> unmap;  // everything of the engine's
  Array<Move> park_special;   // vDSO and its data, out of the way ...
  Array<Move> moves;
  Array<Move> place_special;  // ... and to where the image has them
  Array<Lock> locks;
  MmMap mm;
  uint32_t lock_future;       // MCL_*
  uint32_t leader_word;       // not 0 until a dead leader has left
  uint32_t asks_for_numbers;  // of its threads, at the desk
  uint32_t pad;
  StepSet steps;              // of the process, run by the leader
  Array<ThreadArgs> threads;  // the leader first
};

// What the blob itself does, where a failure names it: ThreadSlot::step.
enum class Act : uint32_t {
  kUnmap = id("restorer.unmap"),
  kParkVdso = id("restorer.park_vdso"),
  kMove = id("restorer.move"),
  kPlaceVdso = id("restorer.place_vdso"),
  kMmMap = id("restorer.mm_map"),
  kExeFd = id("restorer.exe_fd"),
  kLock = id("restorer.lock"),
  kThread = id("restorer.thread"),
  kGate = id("restorer.gate"),
  kUnknownStep = id("restorer.unknown_step"),
};

}  // namespace wire
