#include <signal.h>

#include <thread>

#include "tests/engine/resources/beside.h"

namespace ncr::test {
namespace {

char stack_of_leader[65536];
char stack_of_thread[65536];

void use(char* memory, int flags) {
  stack_t stack{};
  stack.ss_sp = memory;
  stack.ss_size = sizeof stack_of_leader;
  stack.ss_flags = flags;
  ASSERT_EQ(sigaltstack(&stack, nullptr), 0);
}

CR_TEST(signal_stack, every_thread_keeps_its_own) {
  static std::atomic<int> ready;
  static std::atomic<int> go;
  static stack_t seen;
  use(stack_of_leader, 0);
  std::thread thread([] {
    use(stack_of_thread, 1 << 31);  // SS_AUTODISARM
    ready = 1;
    await(go);
    sigaltstack(nullptr, &seen);
  });
  await(ready);
  checkpoint_restore();
  go = 1;
  thread.join();
  EXPECT_EQ(seen.ss_sp, stack_of_thread);
  EXPECT_EQ(seen.ss_flags, 1 << 31);
  sigaltstack(nullptr, &seen);
  EXPECT_EQ(seen.ss_sp, stack_of_leader);
  EXPECT_EQ(seen.ss_size, sizeof stack_of_leader);
  EXPECT_EQ(seen.ss_flags, 0);
}

volatile sig_atomic_t on_stack = 0;

CR_TEST(signal_stack, a_checkpoint_inside_a_handler_on_it) {
  use(stack_of_leader, 0);
  struct sigaction action {};
  action.sa_handler = [](int) {
    checkpoint_restore();
    stack_t now{};
    sigaltstack(nullptr, &now);
    on_stack = now.ss_flags;
  };
  action.sa_flags = SA_ONSTACK;
  ASSERT_EQ(sigaction(SIGUSR1, &action, nullptr), 0);
  raise(SIGUSR1);
  EXPECT_EQ(on_stack, SS_ONSTACK);
  stack_t now{};
  sigaltstack(nullptr, &now);
  EXPECT_EQ(now.ss_flags, 0);
}

}  // namespace
}  // namespace ncr::test
