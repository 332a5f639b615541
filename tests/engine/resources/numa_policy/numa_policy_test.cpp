#include "engine/resources/numa_policy/numa_policy.h"

#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <thread>

#include "engine/resources/room.h"
#include "tests/engine/resources/beside.h"

namespace ncr::test {
namespace {

struct Policy {
  int mode = 0;
  unsigned long nodes[16] = {};
  bool operator==(const Policy&) const = default;
};

Policy current() {
  Policy policy;
  EXPECT_EQ(::syscall(SYS_get_mempolicy, &policy.mode, policy.nodes, 1025, nullptr, 0), 0);
  return policy;
}

bool set(int mode, unsigned long nodes) {
  return ::syscall(SYS_set_mempolicy, mode, &nodes, 65) == 0;
}

CR_TEST(numa_policy, each_thread_keeps_its_own) {
  if (!set(MPOL_INTERLEAVE | MPOL_F_STATIC_NODES, 1)) return;  // a kernel without nodes
  static std::atomic<int> ready;
  static std::atomic<int> go;
  std::thread other([] {
    EXPECT_TRUE(set(MPOL_DEFAULT, 0));
    EXPECT_TRUE(set(MPOL_BIND, 1));
    const Policy before = current();
    ready = 1;
    await(go);
    EXPECT_EQ(current(), before);
  });
  await(ready);
  const Policy before = current();
  ASSERT_EQ(before.mode, MPOL_INTERLEAVE | MPOL_F_STATIC_NODES);
  checkpoint_restore();
  EXPECT_EQ(current(), before);
  go = 1;
  other.join();
}

TEST(NumaPolicy, more_nodes_than_there_can_be_are_refused) {
  schema::Thread thread;
  for (uint32_t i = 0; i <= numa_policy::kWords; i++) thread.mutable_numa_policy()->add_nodes(1);
  StepList steps;
  for (const TaskRoom* room : task_rooms()) {
    if (room->name != std::string("numa_policy")) continue;
    EXPECT_FALSE(room->plan_thread(schema::Task(), thread, steps).ok());
  }
}

}  // namespace
}  // namespace ncr::test
