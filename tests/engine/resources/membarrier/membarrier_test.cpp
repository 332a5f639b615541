#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/engine/resources/beside.h"

namespace ncr::test {
namespace {

CR_TEST(membarrier, a_registered_process_may_go_on_using_it) {
  ASSERT_EQ(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0), 0);
  checkpoint_restore();
  EXPECT_EQ(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0), 0);
}

}  // namespace
}  // namespace ncr::test
