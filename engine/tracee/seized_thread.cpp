// One thread under PTRACE_SEIZE (ptrace(2)). SEIZE itself stops nothing and leaves no trace;
// PTRACE_INTERRUPT makes the thread take a trap at its next return to user mode, reported as
// PTRACE_EVENT_STOP with SIGTRAP, or with the stop signal if its process is in a job-control stop.
// Other stops may come before that one: a signal about to be delivered is injected, so that it is
// not lost, and the thread is interrupted again; it then stops at the first instruction of its
// handler. The kernel keeps job-control stops over a detach by itself. Only waitid(P_PID, tid) is
// used, never -1: the process that embeds us has children of its own. If the traced thread is
// itself a child of ours, its exit is looked at with WNOWAIT and stays for its parent to collect.
// When we die, the kernel detaches: every thread runs on with the registers it has at that moment.
#include "engine/tracee/seized_thread.h"

#include <elf.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <ctime>
#include <utility>

#include "engine/base/proc.h"
#include "engine/base/sys.h"
#include "engine/base/turns.h"

namespace ncr {
namespace {

constexpr int kRunning = -1;

Result<long> raw_ptrace(int number, pid_t tid, unsigned long address, unsigned long data,
                        const char* name) {
  Result<long> result =
      SYSCALL(::syscall(SYS_ptrace, number, tid, address, data), "ptrace %s", name);
  if (!result.ok() && result.error().os_error() == ESRCH)
    return Error::gone(strf("thread %d is gone (ptrace %s)", tid, name));
  return result;
}

Result<proc::Status> status_of(pid_t tid) {
  return proc::parse_status(TRY(sys::read_file(strf("/proc/%d/status", tid).c_str())));
}

// Why PTRACE_SEIZE gave EPERM, in words.
Error refused(pid_t tid, Error error) {
  Result<proc::Status> status = status_of(tid);
  if (!status.ok()) return Error::gone(strf("thread %d is gone", tid));
  const proc::Status& task = status.value();
  if (task.state == 'Z' || task.state == 'X') return Error::gone(strf("thread %d has exited", tid));
  std::string who = strf("task %d (%s)", tid, task.name.c_str());
  if (task.tracer_pid == 0)
    return std::move(error).while_doing(
        who + " cannot be traced (this needs CAP_SYS_PTRACE, and no security module against it)");
  Result<proc::Status> tracer = status_of(task.tracer_pid);
  return Error::system(error.os_error(),
                       strf("%s is traced by %d (%s); end that first", who.c_str(), task.tracer_pid,
                            tracer.ok() ? tracer.value().name.c_str() : "?"));
}

bool is_event(int status, int* event, int* signal) {
  *event = status >> 8;
  *signal = status & 0x7f;
  return *event != 0;
}

}  // namespace

Result<SeizedThread> SeizedThread::seize(pid_t tid, unsigned long extra_options) {
  Result<long> seized = raw_ptrace(PTRACE_SEIZE, tid, 0, extra_options, "SEIZE");
  if (seized.ok()) return SeizedThread(tid);
  if (seized.error().os_error() == EPERM) return refused(tid, seized.take_error());
  return seized.take_error();
}

SeizedThread::SeizedThread(SeizedThread&& other) noexcept { *this = std::move(other); }

SeizedThread& SeizedThread::operator=(SeizedThread&& other) noexcept {
  if (this == &other) return *this;
  give_up();
  tid_ = std::exchange(other.tid_, 0);
  stopped_ = other.stopped_;
  interrupted_ = other.interrupted_;
  unsettled_ = other.unsettled_;
  stop_signal_ = other.stop_signal_;
  return *this;
}

SeizedThread::~SeizedThread() { give_up(); }

// A traced thread that exited is a zombie until its tracer collects it, and holds up its leader's
// parent. A leader that is a child of ours is left to whoever in our process waits for it.
void SeizedThread::collect() {
  const pid_t tid = std::exchange(tid_, 0);
  for (int tries = 0; tries < 200; tries++) {
    Result<proc::Status> status = status_of(tid);
    if (!status.ok() || (status.value().tgid == tid && status.value().ppid == ::getpid())) return;
    siginfo_t info{};
    Result<int> waited =
        SYSCALL(::waitid(P_PID, static_cast<id_t>(tid), &info, WEXITED | __WALL | WNOHANG),
                "waitid %d", tid);
    if (!waited.ok() || info.si_pid != 0) return;
    timespec pause{0, 1'000'000};
    ::nanosleep(&pause, nullptr);
  }
}

// A running thread cannot be detached; one that does not stop within a second (a vfork parent, a
// hung disk) stays traced until it does.
void SeizedThread::give_up() {
  if (tid_ == 0) return;
  if (!stopped_ && !interrupted_ && !interrupt().ok()) return collect();
  for (int tries = 0; tid_ != 0 && !stopped_ && tries < 1000; tries++) {
    Result<bool> stopped = poll_stop();
    if (!stopped.ok()) return;
    if (stopped.value()) break;
    timespec pause{0, 1'000'000};
    ::nanosleep(&pause, nullptr);
  }
  if (tid_ != 0 && stopped_ && !detach().ok()) collect();
}

Result<> SeizedThread::request(int number, unsigned long data, const char* name) const {
  TRY_WHILE(raw_ptrace(number, tid_, 0, data, name), "thread %d", tid_);
  return {};
}

Result<> SeizedThread::interrupt() {
  TRY(request(PTRACE_INTERRUPT, 0, "INTERRUPT"));
  interrupted_ = true;
  return {};
}

// The si_status of the next stop, kRunning if there is none yet. Never a waitid that blocks: it
// would tell nothing of a leader that was killed until its threads are collected.
Result<int> SeizedThread::next_stop(bool may_block) {
  for (Patience patience;; patience.wait()) {
    const int status = TRY(stop_now());
    if (status != kRunning || !may_block) return status;
    if (!patience.is_long()) continue;
    Result<proc::Status> task = status_of(tid_);
    if (!task.ok() || task.value().state == 'Z' || task.value().state == 'X') return gone();
  }
}

Error SeizedThread::gone() {
  const pid_t tid = tid_;
  collect();
  return Error::gone(strf("thread %d exited", tid));
}

Result<int> SeizedThread::stop_now() {
  const id_t id = static_cast<id_t>(tid_);
  siginfo_t info{};
  Result<int> waited =
      SYSCALL(::waitid(P_PID, id, &info, WSTOPPED | WEXITED | WNOWAIT | WNOHANG | __WALL),
              "waitid %d", tid_);
  if (waited.ok() && info.si_pid == 0) return kRunning;
  if (waited.ok() && info.si_code == CLD_TRAPPED) {
    // SIGKILL may come in between: then there is no stop left to take.
    waited = SYSCALL(::waitid(P_PID, id, &info, WSTOPPED | __WALL | WNOHANG), "waitid %d", tid_);
    if (!waited.ok() || info.si_pid == 0) return kRunning;
    return info.si_status;
  }
  if (!waited.ok() && waited.error().os_error() != ECHILD) return waited.take_error();
  return gone();
}

// A job-control stop that was there before our PTRACE_INTERRUPT leaves that interrupt pending: it
// would strike at the first instruction the thread is resumed for. LISTEN and INTERRUPT make the
// thread trap anew, and any trap clears what is pending (ptrace_stop(), kernel/signal.c).
Result<> SeizedThread::settle_job_control_stop(int signal) {
  stop_signal_ = signal;
  TRY(request(PTRACE_LISTEN, 0, "LISTEN"));
  TRY(request(PTRACE_INTERRUPT, 0, "INTERRUPT"));
  int status = TRY(next_stop(true));
  int event = 0;
  if (is_event(status, &event, &signal) && event == PTRACE_EVENT_STOP)
    stop_signal_ = signal == SIGTRAP ? 0 : signal;
  return {};
}

// True if this stop is the one we wait for; else the thread was sent on, to stop again.
Result<bool> SeizedThread::settle(int status) {
  int event = 0;
  int signal = 0;
  const bool of_event = is_event(status, &event, &signal);
  if (of_event && event == PTRACE_EVENT_STOP) {
    stop_signal_ = 0;
    if (signal != SIGTRAP) TRY(settle_job_control_stop(signal));
    interrupted_ = false;
    stopped_ = true;
    return true;
  }
  const bool in_system_call = (status & 0x80) != 0;  // PTRACE_O_TRACESYSGOOD
  TRY(request(PTRACE_INTERRUPT, 0, "INTERRUPT"));
  TRY(request(PTRACE_CONT, of_event || in_system_call ? 0 : static_cast<unsigned long>(signal),
              "CONT"));
  return false;
}

Result<> SeizedThread::wait_stop() {
  while (!stopped_) {
    if (!unsettled_) unsettled_ = TRY(next_stop(true));
    TRY(settle(*unsettled_));
    unsettled_.reset();
  }
  return {};
}

Result<bool> SeizedThread::poll_stop() {
  while (!stopped_) {
    if (!unsettled_) {
      const int status = TRY(next_stop(false));
      if (status == kRunning) return false;
      unsettled_ = status;
    }
    TRY(settle(*unsettled_));
    unsettled_.reset();
  }
  return true;
}

Result<bool> SeizedThread::poll_exit() {
  stopped_ = false;
  Result<int> status = stop_now();
  if (status.ok()) return false;
  if (status.error().code() == ErrorCode::kGone) return true;
  return status.take_error();
}

Result<std::vector<char>> SeizedThread::get_regset(unsigned type) const {
  std::vector<char> data(4096);  // AVX-512 state is 2.7 KiB
  for (;;) {
    iovec area{data.data(), data.size()};
    Result<long> got = raw_ptrace(PTRACE_GETREGSET, tid_, type,
                                  reinterpret_cast<unsigned long>(&area), "GETREGSET");
    if (!got.ok() && (got.error().os_error() == EINVAL || got.error().os_error() == ENODEV))
      return std::vector<char>();
    if (!got.ok()) return got.take_error().while_doing(strf("thread %d: regset %#x", tid_, type));
    if (area.iov_len < data.size()) {
      data.resize(area.iov_len);
      return data;
    }
    data.resize(data.size() * 4);
  }
}

Result<> SeizedThread::set_regset(unsigned type, const void* data, size_t size) const {
  iovec area{const_cast<void*>(data), size};
  TRY_WHILE(
      raw_ptrace(PTRACE_SETREGSET, tid_, type, reinterpret_cast<unsigned long>(&area), "SETREGSET"),
      "thread %d: regset %#x of %zu bytes", tid_, type, size);
  return {};
}

Result<uint64_t> SeizedThread::signal_mask() const {
  uint64_t mask = 0;
  TRY_WHILE(raw_ptrace(PTRACE_GETSIGMASK, tid_, sizeof mask, reinterpret_cast<unsigned long>(&mask),
                       "GETSIGMASK"),
            "thread %d", tid_);
  return mask;
}

Result<> SeizedThread::set_signal_mask(uint64_t mask) const {
  TRY_WHILE(raw_ptrace(PTRACE_SETSIGMASK, tid_, sizeof mask, reinterpret_cast<unsigned long>(&mask),
                       "SETSIGMASK"),
            "thread %d", tid_);
  return {};
}

Result<> SeizedThread::regain() {
  stopped_ = false;
  TRY(interrupt());
  (void)request(PTRACE_CONT, 0, "CONT");  // refused if it runs, and then it stops by itself
  return wait_stop();
}

Result<> SeizedThread::detach() {
  TRY(request(PTRACE_DETACH, 0, "DETACH"));
  tid_ = 0;
  stopped_ = false;
  return {};
}

}  // namespace ncr
