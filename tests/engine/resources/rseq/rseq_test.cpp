#include <sched.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <thread>

#include "tests/engine/resources/beside.h"

namespace ncr::test {
namespace {

struct rseq* own_area() {
  return reinterpret_cast<struct rseq*>(static_cast<char*>(__builtin_thread_pointer()) +
                                        __rseq_offset);
}

// EBUSY: this very area is registered.
bool is_registered() {
  return syscall(SYS_rseq, own_area(), 32, 0, RSEQ_SIG) == -1 && errno == EBUSY;
}

CR_TEST(rseq, every_thread_stays_registered_and_the_kernel_writes_its_cpu) {
  if (__rseq_size == 0 || !is_registered()) return;
  static std::atomic<int> go;
  static bool there = false;
  std::thread thread([] {
    await(go);
    there = is_registered();
  });
  checkpoint_restore();
  EXPECT_TRUE(is_registered());
  own_area()->cpu_id = 4711;
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET(0, &cpus);
  ASSERT_EQ(sched_setaffinity(0, sizeof cpus, &cpus), 0);
  sched_yield();
  const timespec pause{0, 1'000'000};
  for (int i = 0; i < 1000 && *static_cast<volatile uint32_t*>(&own_area()->cpu_id) != 0; i++)
    nanosleep(&pause, nullptr);
  EXPECT_EQ(own_area()->cpu_id, 0u);
  go = 1;
  thread.join();
  EXPECT_TRUE(there);
}

}  // namespace
}  // namespace ncr::test
