#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "tests/engine/resources/beside.h"

namespace ncr::test {
namespace {

CR_TEST_WITH(seccomp, filters_are_named, .refused_with = "has seccomp filters") {
  sock_filter allow = {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW};
  sock_fprog program{1, &allow};
  ASSERT_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
  checkpoint_restore();
}

}  // namespace
}  // namespace ncr::test
