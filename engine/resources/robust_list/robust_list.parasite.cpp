// parasite: where the kernel clears a word when this thread exits. Kernels without
// CONFIG_CHECKPOINT_RESTORE cannot say.
#include <linux/prctl.h>

#include "engine/resources/robust_list/robust_list.h"
#include "pie/syscall.h"

namespace ncr::robust_list {

pie::Ret handle(const GetTidAddress::Request&, GetTidAddress::Reply& reply) {
  return pie::sys(__NR_prctl, PR_GET_TID_ADDRESS, &reply.address, 0, 0, 0);
}

}  // namespace ncr::robust_list
