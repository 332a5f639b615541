// A restored thread waits in a futex of the restorer. It is interrupted, given the registers,
// extended state and signal mask of the image, and detached (docs/adr/0002). The restorer cannot
// unmap itself, so one thread of each process is made to call munmap by stepping over a system call
// instruction that stays mapped. All threads are interrupted before the first is waited for, so
// that they stop side by side.
#include "engine/tree/release.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>

#include "arch/arch.h"
#include "engine/base/sys.h"
#include "engine/base/undo.h"
#include "engine/resources/seccomp/seccomp_plan.h"
#include "engine/tracee/remote_call.h"
#include "engine/tracee/remote_memory.h"

namespace ncr {
namespace {

struct HeldThread {
  const schema::Thread* record;
  SeizedThread* thread;
};

struct HeldTask {
  const TaskPlan* plan;
  pid_t outer;  // as we number it
  const wire::TaskSlot* slot;
  std::vector<SeizedThread> others;  // all but a leader seized before
  std::vector<HeldThread> threads;   // alive, the leader first unless it has exited
};

// `others`: all threads but the leader, if they are seized already.
Result<HeldTask> hold(const TaskPlan& plan, pid_t outer, const wire::TaskSlot& slot,
                      std::optional<SeizedThread>& leader, std::vector<SeizedThread> others) {
  HeldTask task{&plan, outer, &slot, std::move(others), {}};
  if (task.others.empty()) task.others = TRY(seize_others(plan, outer));
  const auto& records = plan.record->threads();
  if (leader.has_value()) task.threads.push_back({&records[0], &*leader});
  for (size_t i = 0; i < task.others.size(); i++)
    task.threads.push_back({&records[static_cast<int>(i) + 1], &task.others[i]});
  return task;
}

Result<arch::Registers> general_registers(const std::string& bytes) {
  arch::Registers registers{};
  if (bytes.size() != sizeof registers)
    return Error::malformed(strf("general registers of %zu bytes", bytes.size()));
  std::memcpy(&registers, bytes.data(), sizeof registers);
  return registers;
}

// By stops at the call, not by a single step: for its trap, which the thread blocks, the kernel
// would reset the action of SIGTRAP (force_sig_info_to_task, kernel/signal.c).
Result<> unmap(const HeldTask& task, uint64_t address, uint64_t size, const char* what) {
  const SeizedThread& thread = *task.threads.front().thread;
  std::vector<char> raw = TRY(thread.get_regset(arch::kGeneralRegset));
  arch::Registers registers = TRY(general_registers(std::string(raw.begin(), raw.end())));
  arch::set_syscall(registers, SYS_munmap, {address, size});
  arch::set_ip(registers, task.slot->syscall_address);
  TRY(thread.set_regset(arch::kGeneralRegset, &registers, sizeof registers));
  TRY(run_one_call(thread));
  raw = TRY(thread.get_regset(arch::kGeneralRegset));
  registers = TRY(general_registers(std::string(raw.begin(), raw.end())));
  if (arch::result(registers) != 0)
    return Error::system(static_cast<int>(-arch::result(registers)), strf("munmap of %s", what));
  return {};
}

// The vDSO goes last: its instruction makes the calls, and the thread stops before it returns to
// where that was.
Result<> unmap_what_is_ours(const HeldTask& task) {
  TRY(unmap(task, task.slot->area, task.slot->area_size, "the restorer"));
  if (task.slot->vdso_size == 0) return {};
  return unmap(task, task.slot->vdso, task.slot->vdso_size, "the vDSO");
}

// A thread that was in a restarted call has lost its number; the code before the instruction tells.
int64_t lost_number(pid_t tid, const arch::Registers& registers) {
  unsigned char code[7];
  if (!arch::in_restarted_syscall(registers)) return -1;
  if (!read_remote(tid, {arch::ip(registers) - sizeof code}, code, sizeof code).ok()) return -1;
  return arch::syscall_number_in_code(code);
}

// The extended state of another machine may be shorter or longer; what is in use fits
// (engine/image/cpu.h).
Result<> set_extended_state(const HeldThread& held, size_t size) {
  std::string state = held.record->extended_state();
  if (state.empty()) return {};
  if (size != 0) state.resize(size);
  return held.thread->set_regset(arch::kExtendedRegset, state.data(), state.size());
}

Result<> set_state(const HeldThread& held, size_t extended_size) {
  arch::Registers registers = TRY(general_registers(held.record->general_registers()));
  registers = arch::resume_registers(registers, arch::ResumeIn::kNewTask,
                                     lost_number(held.thread->tid(), registers));
  TRY(held.thread->set_regset(arch::kGeneralRegset, &registers, sizeof registers));
  TRY(set_extended_state(held, extended_size));
  for (const auto& [type, bytes] : held.record->other_regsets())
    TRY(held.thread->set_regset(type, bytes.data(), bytes.size()));
  return held.thread->set_signal_mask(held.record->signal_mask());
}

// A stop that the program could catch or that a parentless group ignores is made by SIGSTOP
// instead.
int stop_signal_of(const schema::Task& task) {
  int signal = task.stop_signal();
  if (signal <= 0 || signal > 64) return SIGSTOP;
  if ((task.threads(0).signal_mask() >> (signal - 1)) & 1) return SIGSTOP;
  for (const schema::SignalAction& action : task.signal_actions())
    if (static_cast<int>(action.number()) == signal && action.handler() != 0) return SIGSTOP;
  return signal;
}

Result<> set_states(std::vector<HeldTask>& tasks) {
  for (HeldTask& task : tasks)
    for (HeldThread& held : task.threads) TRY(held.thread->interrupt());
  size_t extended_size = 0;
  for (HeldTask& task : tasks) {
    for (HeldThread& held : task.threads) TRY(held.thread->wait_stop());
    if (extended_size == 0)
      extended_size = TRY(task.threads.front().thread->get_regset(arch::kExtendedRegset)).size();
    TRY_WHILE(unmap_what_is_ours(task), "restore task %d", task.plan->pid);
    for (HeldThread& held : task.threads)
      TRY_WHILE(set_state(held, extended_size), "restore thread %d", held.record->tid());
  }
  return {};
}

bool has_pending_stop(const google::protobuf::RepeatedPtrField<std::string>& infos) {
  for (const std::string& info : infos) {
    int number = 0;
    std::memcpy(&number, info.data(), std::min(info.size(), sizeof number));
    if (number == SIGSTOP) return true;
  }
  return false;
}

// A SIGSTOP on its way stops the process, whichever of its threads it was sent to.
bool is_about_to_stop(const schema::Task& task) {
  if (has_pending_stop(task.pending_signals())) return true;
  for (const schema::Thread& thread : task.threads())
    if (has_pending_stop(thread.pending_signals())) return true;
  return false;
}

// A stop that waits for its task to run again.
Result<> queue_stops(const std::vector<HeldTask>& tasks, AfterRestore after) {
  for (const HeldTask& task : tasks) {
    const schema::Task& record = *task.plan->record;
    bool stopped = record.state() == schema::TASK_STOPPED;
    if (!stopped && !is_about_to_stop(record) && after == AfterRestore::kRun) continue;
    TRY(SYSCALL(::kill(task.outer, stopped ? stop_signal_of(record) : SIGSTOP),
                "kill %d with a stop signal", task.outer));
  }
  return {};
}

}  // namespace

unsigned long trace_options(const schema::Task& task) {
  return kTraceOptions | (seccomp::has_filters(task) ? PTRACE_O_SUSPEND_SECCOMP : 0);
}

Result<std::vector<SeizedThread>> seize_others(const TaskPlan& plan, pid_t outer) {
  const auto& records = plan.record->threads();
  std::unordered_map<pid_t, pid_t> numbers;
  if (outer != plan.pid && records.size() > 1)
    numbers = TRY(outer_threads(outer, plan.numbers.size() - 1));
  std::vector<SeizedThread> others;
  others.reserve(static_cast<size_t>(records.size()));
  for (int i = 1; i < records.size(); i++) {
    auto found = numbers.find(records[i].tid());
    const pid_t tid = found == numbers.end() ? records[i].tid() : found->second;
    others.push_back(TRY(SeizedThread::seize(tid, trace_options(*plan.record))));
  }
  return others;
}

Result<> release_tree(const RestorePlan& plan, const SyncPage& sync, const BirthRegister& born,
                      std::vector<std::optional<SeizedThread>>& leaders, FilteredThreads filtered,
                      AfterRestore after) {
  std::vector<HeldTask> tasks;
  // A seized thread that is let go by its destructor would run on, half made.
  Undo kill_first([&] {
    for (const HeldTask& task : tasks) ::kill(task.outer, SIGKILL);
  });
  for (size_t i = 0; i < plan.tasks.size(); i++)
    if (plan.tasks[i].live())
      tasks.push_back(TRY_WHILE(
          hold(plan.tasks[i], born.outer(i), sync.task(i), leaders[i], std::move(filtered[i])),
          "restore task %d", plan.tasks[i].pid));
  TRY(set_states(tasks));
  TRY(queue_stops(tasks, after));
  kill_first.cancel();
  // ---- Point of no return: from the first detach on the tree lives by itself. ----
  for (HeldTask& task : tasks)
    for (HeldThread& held : task.threads) (void)held.thread->detach();
  return {};
}

}  // namespace ncr
