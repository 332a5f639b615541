// The kernel aborts a restartable sequence when the thread is preempted or signalled in it: on the
// way to user mode it looks up the descriptor that the thread's struct rseq points to, and if ip
// lies inside, moves it to the abort handler (rseq_ip_fixup, kernel/rseq.c). If ip lies outside, as
// while our code runs, it only forgets the pointer, so the thread would come back into the middle
// of its sequence unnoticed. Hence the same decision is made here, from the registers it was
// stopped with. Runs in the engine. A kernel without rseq, or a thread that never registered one,
// is left alone.
#include "engine/tracee/rseq.h"

#include <sys/syscall.h>
#include <unistd.h>

#include "engine/base/sys.h"
#include "engine/tracee/remote_memory.h"

namespace ncr {
namespace {

constexpr int kGetRseqConfiguration = 0x420f;
constexpr uint64_t kCriticalSectionOffset = 8;  // of struct rseq: rseq_cs

struct Configuration {  // struct ptrace_rseq_configuration
  uint64_t address;
  uint32_t size;
  uint32_t signature;
  uint32_t flags;
  uint32_t pad;
};

struct CriticalSection {  // struct rseq_cs
  uint32_t version;
  uint32_t flags;
  uint64_t start;
  uint64_t length;
  uint64_t abort;
};

}  // namespace

Result<arch::Registers> leave_restartable_sequence(const SeizedThread& thread,
                                                   arch::Registers registers) {
  Configuration configuration{};
  Result<long> known = SYSCALL(::syscall(SYS_ptrace, kGetRseqConfiguration, thread.tid(),
                                         sizeof configuration, &configuration),
                               "ptrace GET_RSEQ_CONFIGURATION");
  if (!known.ok() || configuration.address == 0) return registers;
  uint64_t pointer = 0;
  TRY_WHILE(read_remote(thread.tid(), {configuration.address + kCriticalSectionOffset}, &pointer,
                        sizeof pointer),
            "thread %d: its struct rseq", thread.tid());
  if (pointer == 0) return registers;
  CriticalSection section{};
  TRY_WHILE(read_remote(thread.tid(), {pointer}, &section, sizeof section),
            "thread %d: its rseq_cs", thread.tid());
  if (arch::ip(registers) - section.start < section.length) arch::set_ip(registers, section.abort);
  return registers;
}

}  // namespace ncr
