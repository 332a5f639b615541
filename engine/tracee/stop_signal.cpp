// A signal is free if, without a tracer, the kernel drops it when it is sent: it is ignored, by
// SIG_IGN or by default, and not blocked (sig_ignored(), kernel/signal.c). With a tracer it stops
// the thread. Go programs catch every signal: theirs is borrowed. Pure.
#include "engine/tracee/stop_signal.h"

#include <csignal>

namespace ncr {
namespace {

constexpr uint64_t bit(int signal) { return uint64_t{1} << (signal - 1); }

constexpr uint64_t kStandard = bit(32) - 1;
constexpr uint64_t kDefaultIgnored = bit(SIGURG) | bit(SIGWINCH) | bit(SIGCHLD);
// Sending one of these does more than to deliver it, and faults are errors of ours.
constexpr uint64_t kUnfit = bit(SIGKILL) | bit(SIGSTOP) | bit(SIGCONT) | bit(SIGTSTP) |
                            bit(SIGTTIN) | bit(SIGTTOU) | bit(SIGSEGV) | bit(SIGBUS) | bit(SIGILL) |
                            bit(SIGFPE) | bit(SIGTRAP) | bit(SIGSYS);

}  // namespace

void SignalUse::add(const proc::Status& thread) {
  ignored |= thread.ignored;
  caught |= thread.caught;
  blocked |= thread.blocked;
  pending |= thread.pending | thread.shared_pending;
}

StopSignal choose_stop_signal(const SignalUse& use) {
  const uint64_t ignored = use.ignored | (kDefaultIgnored & ~use.caught);
  const uint64_t free = ignored & kStandard & ~(kUnfit | use.blocked | use.pending);
  for (int signal : {SIGURG, SIGWINCH})
    if ((free & bit(signal)) != 0) return {signal, false};
  if (free != 0) return {__builtin_ctzll(free) + 1, false};
  for (int signal : {SIGSTKFLT, SIGPWR, SIGXFSZ, SIGXCPU})
    if ((use.pending & bit(signal)) == 0) return {signal, true};
  return {};
}

}  // namespace ncr
