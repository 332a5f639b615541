// Signals that were sent and not yet taken: a queue per thread and one for the process (struct
// sigpending: a set of numbers and a list of siginfo). The kernel keeps no siginfo for a signal
// that was sent when the queue was full; such a number is in the set only, and gets the siginfo
// that the kernel itself would make up for it.
//
// Read by PTRACE_PEEKSIGINFO with the thread stopped; /proc/PID/status says whether there is
// anything to read. Queued again by the task itself, for only then does the kernel let si_code
// through as it was.
#include "engine/resources/signal_queue/signal_queue.h"

#include <sys/ptrace.h>

#include <csignal>
#include <cstring>

#include "engine/resources/room.h"

namespace ncr::signal_queue {
namespace {

static_assert(sizeof(siginfo_t) == kSigInfoSize);

using Infos = google::protobuf::RepeatedPtrField<std::string>;

void add_info(const siginfo_t& info, Infos* infos) {
  infos->Add()->assign(reinterpret_cast<const char*>(&info), sizeof info);
}

Result<> read_queue(const SeizedThread& thread, uint32_t flags, uint64_t pending, Infos* infos) {
  constexpr int kAtOnce = 32;
  siginfo_t buffer[kAtOnce];
  uint64_t missing = pending;
  for (;;) {
    ptrace_peeksiginfo_args arguments{static_cast<uint64_t>(infos->size()), flags, kAtOnce};
    long got = TRY(SYSCALL(::ptrace(static_cast<__ptrace_request>(PTRACE_PEEKSIGINFO), thread.tid(),
                                    &arguments, buffer),
                           "PTRACE_PEEKSIGINFO of thread %d", thread.tid()));
    for (long i = 0; i < got; i++) {
      add_info(buffer[i], infos);
      missing &= ~(1ull << (buffer[i].si_signo - 1));
    }
    if (got == 0) break;
  }
  for (int number = 1; number <= 64; number++) {
    if ((missing >> (number - 1) & 1) == 0) continue;
    siginfo_t made_up{};
    made_up.si_signo = number;
    made_up.si_code = SI_USER;
    add_info(made_up, infos);
  }
  return {};
}

Result<> look(const Task& task, schema::Task* record) {
  const ThreadStatus* status = TRY(task.status(task.pid));
  if (status->status.shared_pending == 0) return {};
  return read_queue(task.leader(), PTRACE_PEEKSIGINFO_SHARED, status->status.shared_pending,
                    record->mutable_pending_signals());
}

Result<> look_thread(const Task& task, const SeizedThread& thread, schema::Thread* record) {
  const ThreadStatus* status = TRY(task.status(thread.tid()));
  if (status->status.pending == 0) return {};
  return read_queue(thread, 0, status->status.pending, record->mutable_pending_signals());
}

Result<> plan_queue(const Infos& infos, bool to_process, StepList& steps) {
  for (const std::string& info : infos) {
    if (info.size() != kSigInfoSize)
      return Error::malformed(strf("a pending signal has %zu bytes of siginfo", info.size()));
    Queue step{};
    int number = 0;
    memcpy(&number, info.data(), sizeof number);
    if (number < 1 || number > 64)
      return Error::malformed(strf("pending signal %d does not exist", number));
    if (number == SIGSTOP) continue;  // nothing blocks it: engine/tree/release.cpp stops the task
    step.number = static_cast<uint32_t>(number);
    step.to_process = to_process ? 1 : 0;
    memcpy(step.info, info.data(), info.size());
    steps.add(wire::Stage::kLate, step);
  }
  return {};
}

Result<> plan(const schema::Task& record, StepList& steps) {
  return plan_queue(record.pending_signals(), true, steps);
}

Result<> plan_thread(const schema::Task&, const schema::Thread& thread, StepList& steps) {
  return plan_queue(thread.pending_signals(), false, steps);
}

}  // namespace

extern const TaskRoom kRoom = {.name = "signal_queue",
                               .look = look,
                               .look_thread = look_thread,
                               .plan = plan,
                               .plan_thread = plan_thread};

}  // namespace ncr::signal_queue
