// restorer: the last code a restored task runs before it is itself. It begins in the leader on a
// stack in the area, with every signal blocked; it ends with every thread of the task parked in a
// futex wait. The coordinator then seizes the threads, gives them their registers and signal masks
// and unmaps the area (docs/adr/0002). Only general registers are used: what the FPU holds here
// never reaches the task.
#include <asm-generic/errno-base.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <linux/time.h>

#include "restorer/session.h"

extern "C" {
// clone3 whose child runs main(argument) on its own stack (arch/<arch>/restorer_entry.S).
long restorer_clone(const clone_args* args, size_t size, void (*main)(void*), void* argument);
[[noreturn]] void restorer_main(wire::RestorerArgs* args);
}

namespace restorer {

using wire::Act;
using wire::ThreadState;

void wake(uint32_t* word) {
  constexpr int kEveryone = 0x7fffffff;
  (void)pie::sys(__NR_futex, word, FUTEX_WAKE, kEveryone, nullptr, nullptr, 0);
}

namespace {

uint32_t load(const uint32_t* word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }
uint32_t add(uint32_t* word, uint32_t amount) {
  return __atomic_add_fetch(word, amount, __ATOMIC_ACQ_REL);
}

void wait(uint32_t* word, uint32_t seen) {
  (void)pie::sys(__NR_futex, word, FUTEX_WAIT, seen, nullptr, nullptr, 0);
}

void tell_coordinator(const Session& session) {
  add(&session.sync()->event, 1);
  wake(&session.sync()->event);
}

void set_state(const Session& session, ThreadState state) {
  __atomic_store_n(&session.slot()->state, static_cast<uint32_t>(state), __ATOMIC_RELEASE);
}

// Every thread of the task comes to every barrier, in the same order: `number` counts them from 1.
void barrier(const Session& session, uint32_t number) {
  wire::TaskSlot* task = session.task();
  const uint32_t target = task->threads * number;
  if (add(&task->arrived, 1) == target) return wake(&task->arrived);
  for (uint32_t seen = load(&task->arrived); seen < target; seen = load(&task->arrived))
    wait(&task->arrived, seen);
}

// Timers must not run while another task still reads its memory, and nothing may be undone by half:
// late steps wait until the whole tree has come this far.
void pass_gate(const Session& session) {
  wire::SyncHeader* sync = session.sync();
  set_state(session, ThreadState::kReady);
  if (add(&sync->ready, session.task()->threads) == sync->threads) tell_coordinator(session);
  while (load(&sync->gate) == 0) wait(&sync->gate, 0);
  if (load(&sync->abort) != 0) fail(session, Act::kGate, 0, 0);
}

// What the engine's libc told the kernel about this thread points into memory that is about to go.
void forget_libc() {
  (void)pie::sys(__NR_set_tid_address, nullptr);
  (void)pie::sys(__NR_set_robust_list, nullptr, 3 * sizeof(long));
}

[[noreturn]] void park(const Session& session) {
  wire::SyncHeader* sync = session.sync();
  set_state(session, ThreadState::kParked);
  if (add(&sync->parked, 1) == sync->threads) tell_coordinator(session);
  auto* word = reinterpret_cast<uint32_t*>(session.thread->park);
  for (;;) (void)pie::sys(__NR_futex, word, FUTEX_WAIT_PRIVATE, 0, nullptr, nullptr, 0);
}

// The kernel clears the word when the leader has left user space for good; only then may the area
// be unmapped.
[[noreturn]] void leave_dead(const Session& session) {
  wire::SyncHeader* sync = session.sync();
  (void)pie::sys(__NR_set_tid_address, &session.args->leader_word);
  set_state(session, ThreadState::kExited);
  add(&sync->parked, 1);
  for (;;) (void)pie::sys(__NR_exit, 0);
}

void await_dead_leader(const Session& session) {
  uint32_t* word = &session.args->leader_word;
  for (uint32_t seen = load(word); seen != 0; seen = load(word)) wait(word, seen);
}

void run_thread(const Session& session) {
  const bool leader = session.thread->index == 0;
  const wire::StepSet& own = session.thread->steps;
  const wire::StepSet& whole = session.args->steps;
  if (leader) run_steps(session, whole.thread);
  run_steps(session, own.process);
  run_steps(session, own.thread);
  barrier(session, 1);
  if (leader) {
    pass_gate(session);
    run_steps(session, whole.late);
  }
  barrier(session, 2);
  run_steps(session, own.late);
  barrier(session, 3);
  run_steps(session, own.credentials);
  barrier(session, 4);
  if (leader) run_steps(session, whole.credentials);
  if (session.args->dead_leader != 0 && leader) leave_dead(session);
  if (session.args->dead_leader != 0 && session.thread->index == 1) await_dead_leader(session);
  park(session);
}

void await_verdict(const wire::ThreadArgs& thread);

void thread_main(void* argument) {
  const auto* thread = static_cast<const wire::ThreadArgs*>(argument);
  const Session session{reinterpret_cast<wire::RestorerArgs*>(thread->restorer), thread};
  if (session.args->asks_for_numbers != 0) await_verdict(*thread);
  session.slot()->tid = static_cast<int32_t>(pie::sys(__NR_gettid).raw());
  run_thread(session);
}

// A number may still be that of a thread of the tree killed a moment ago, or of a thread that
// filled memory: the kernel frees it after it has told the world of the exit (kernel/exit.c,
// release_task).
pie::Ret clone_when_free(const clone_args& args, const wire::ThreadArgs& thread) {
  constexpr int kTries = 200;
  constexpr __kernel_timespec kPause{.tv_sec = 0, .tv_nsec = 1'000'000};
  for (int tries = 1;; tries++) {
    pie::Ret ret(
        restorer_clone(&args, sizeof args, thread_main, const_cast<wire::ThreadArgs*>(&thread)));
    if (ret.err() != EEXIST || tries == kTries) return ret;
    (void)pie::sys(__NR_clock_nanosleep, CLOCK_MONOTONIC, 0, &kPause, nullptr);
  }
}

// ---- Numbers that we may not choose (engine/tree/number_desk.h)

constexpr uint32_t kRightWord = 1;
constexpr uint32_t kWrongWord = 2;

class Turn {
 public:
  explicit Turn(const Session& session) : session_(session), desk_(session.sync()->desk) {
    for (uint32_t free = 0; !__atomic_compare_exchange_n(&desk_.lock, &free, 1, false,
                                                         __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
         free = 0)
      wait(&desk_.lock, 1);
  }
  Turn(const Turn&) = delete;
  ~Turn() {
    __atomic_store_n(&desk_.lock, 0, __ATOMIC_RELEASE);
    wake(&desk_.lock);
  }
  bool answers(wire::DeskState with, wire::DeskState from, uint32_t thread) {
    desk_.task = session_.args->task;
    desk_.thread = thread;
    const auto asked = static_cast<uint32_t>(from);
    __atomic_store_n(&desk_.state, asked, __ATOMIC_RELEASE);
    wake(&desk_.state);
    // Awake, we are there before others fork.
    constexpr int kAwake = 2000;
    uint32_t state = load(&desk_.state);
    for (int look = 0; state == asked; state = load(&desk_.state)) {
      if (look++ < kAwake)
        (void)pie::sys(__NR_sched_yield);
      else
        wait(&desk_.state, state);
    }
    return state == static_cast<uint32_t>(with);
  }

 private:
  const Session& session_;
  wire::NumberDesk& desk_;
};

// The thread waits to hear whether it is the right one; a wrong one is gone when the kernel has
// cleared its word.
bool make_at_desk(const Session& session, clone_args args, const wire::ThreadArgs& thread) {
  using wire::DeskState;
  auto* word = reinterpret_cast<uint32_t*>(thread.park);
  args.flags |= CLONE_CHILD_CLEARTID;
  args.child_tid = thread.park;
  Turn turn(session);
  if (!turn.answers(DeskState::kSet, DeskState::kAsked, thread.index))
    fail(session, Act::kThread, EPERM, static_cast<uint64_t>(thread.tid));
  pie::Ret ret = clone_when_free(args, thread);
  if (!ret.ok()) fail(session, Act::kThread, ret.err(), static_cast<uint64_t>(thread.tid));
  const bool right = turn.answers(DeskState::kRight, DeskState::kMade, thread.index);
  __atomic_store_n(word, right ? kRightWord : kWrongWord, __ATOMIC_RELEASE);
  wake(word);
  if (right) return true;
  for (uint32_t seen = load(word); seen != 0; seen = load(word)) wait(word, seen);
  return false;
}

// In the thread. Parks later on the same word.
void await_verdict(const wire::ThreadArgs& thread) {
  auto* word = reinterpret_cast<uint32_t*>(thread.park);
  while (load(word) == 0) wait(word, 0);
  if (load(word) == kWrongWord)
    for (;;) (void)pie::sys(__NR_exit, 0);
  (void)pie::sys(__NR_set_tid_address, nullptr);
  __atomic_store_n(word, 0, __ATOMIC_RELEASE);
}

void make_threads(const Session& session) {
  for (const wire::ThreadArgs& thread : session.args->threads) {
    if (thread.index == 0) continue;
    clone_args args{};
    args.flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
    args.stack = thread.stack;
    args.stack_size = thread.stack_size;
    args.set_tid = thread.numbers.count == 0 ? 0 : thread.numbers.address;
    args.set_tid_size = thread.numbers.count;
    if (session.args->asks_for_numbers != 0) {
      constexpr int kTries = 200;
      int tries = 1;
      while (!make_at_desk(session, args, thread))
        if (tries++ == kTries)
          fail(session, Act::kThread, EEXIST, static_cast<uint64_t>(thread.tid));
      continue;
    }
    pie::Ret ret = clone_when_free(args, thread);
    if (!ret.ok()) fail(session, Act::kThread, ret.err(), static_cast<uint64_t>(thread.tid));
  }
}

}  // namespace

void fail(const Session& session, uint32_t step, int error, uint64_t detail) {
  wire::ThreadSlot* slot = session.slot();
  slot->step = step;
  slot->error = error;
  slot->detail = detail;
  set_state(session, ThreadState::kFailed);
  add(&session.sync()->failed, 1);
  tell_coordinator(session);
  for (;;) (void)pie::sys(__NR_exit_group, 1);
}

}  // namespace restorer

void restorer_main(wire::RestorerArgs* args) {
  const restorer::Session session{args, args->threads.begin()};
  session.slot()->tid = static_cast<int32_t>(pie::sys(__NR_gettid).raw());
  restorer::forget_libc();
  restorer::move_memory(session);
  restorer::run_steps(session, args->steps.process);
  restorer::make_threads(session);
  restorer::run_thread(session);
  __builtin_unreachable();
}
