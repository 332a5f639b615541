// A child of the test process that sets itself up, is checkpointed together with it, and checks
// itself afterwards: for what would be in the harness's way in the test process itself.
#pragma once

#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include <atomic>
#include <functional>
#include <new>

#include "tests/support/checkpoint_test.h"
#include "tests/support/child_process.h"

namespace ncr::test {

struct Beside {
  std::atomic<int> ready{0};
  std::atomic<int> go{0};
};

inline void await(const std::atomic<int>& flag) {
  const timespec pause{0, 1'000'000};
  while (flag.load() == 0) ::nanosleep(&pause, nullptr);
}

inline void checkpoint_beside(const std::function<void()>& set_up,
                              const std::function<void()>& check) {
  void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(page, MAP_FAILED);
  auto* beside = new (page) Beside;
  pid_t pid = fork_child([&] {
    set_up();
    beside->ready = 1;
    await(beside->go);
    check();
  });
  while (beside->ready.load() == 0) {
    const timespec pause{0, 1'000'000};
    ::nanosleep(&pause, nullptr);
    int status = 0;
    ASSERT_EQ(::waitpid(pid, &status, WNOHANG), 0) << "set up: " << describe_exit(status);
  }
  checkpoint_restore();
  beside->go = 1;
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  EXPECT_EQ(status, 0) << describe_exit(status);
}

}  // namespace ncr::test
