#include "engine/tracee/rseq.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/rseq.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include "engine/tracee/parasite.h"
#include "engine/tracee/remote_call.h"

namespace ncr {
namespace {

#if defined(__x86_64__)

extern "C" const char rseq_test_start[], rseq_test_end[], rseq_test_abort[];

// Stays in a restartable sequence; its abort handler counts and begins again.
[[noreturn]] void stay_in_sequence(volatile uint64_t* aborts) {
  auto* area = reinterpret_cast<char*>(__builtin_thread_pointer()) + __rseq_offset;
  asm volatile(
      ".pushsection .data.rel, \"aw\"\n .balign 32\n 9: .long 0, 0\n .quad rseq_test_start\n"
      ".quad rseq_test_end - rseq_test_start\n .quad rseq_test_abort\n .popsection\n"
      "8: lea 9b(%%rip), %%rax\n mov %%rax, 8(%0)\n"
      "rseq_test_start: pause\n jmp rseq_test_start\n rseq_test_end: ud2\n"
      ".byte 0x0f, 0xb9, 0x3d\n .long 0x53053053\n"
      "rseq_test_abort: incq (%1)\n jmp 8b\n" ::"r"(area),
      "r"(aborts)
      : "rax", "memory");
  __builtin_unreachable();
}

TEST(ParasiteRseq, a_thread_in_a_restartable_sequence_goes_on_at_its_abort_handler) {
  if (geteuid() != 0 || __rseq_size == 0)
    GTEST_SKIP() << "needs root, and a libc that registers rseq";
  auto* aborts = static_cast<uint64_t*>(
      mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  const pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    stay_in_sequence(aborts);
  }
  const auto start = reinterpret_cast<uint64_t>(&rseq_test_start);
  const auto end = reinterpret_cast<uint64_t>(&rseq_test_end);
  int seen = 0;
  for (int time = 0; time < 50; time++) {
    usleep(500);
    SeizedThread thread = SeizedThread::seize(child).take();
    ASSERT_TRUE(thread.interrupt().ok());
    ASSERT_TRUE(thread.wait_stop().ok());
    const arch::Registers found = get_registers(thread).take();
    Result<arch::Registers> left = leave_restartable_sequence(thread, found);
    ASSERT_TRUE(left.ok());
    const bool inside = arch::ip(found) >= start && arch::ip(found) < end;
    const uint64_t before = *const_cast<volatile uint64_t*>(aborts);
    if (inside)
      EXPECT_EQ(arch::ip(left.value()), reinterpret_cast<uint64_t>(&rseq_test_abort));
    else
      EXPECT_EQ(arch::ip(left.value()), arch::ip(found));
    Parasite parasite = Parasite::infect(thread).take();
    ASSERT_TRUE(parasite.cure().ok());
    ASSERT_TRUE(thread.detach().ok());
    if (!inside) continue;
    seen++;
    for (int tries = 0; tries < 1000 && *const_cast<volatile uint64_t*>(aborts) == before; tries++)
      usleep(100);
    EXPECT_GT(*const_cast<volatile uint64_t*>(aborts), before);
  }
  EXPECT_GT(seen, 0);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
}

#endif

}  // namespace
}  // namespace ncr
