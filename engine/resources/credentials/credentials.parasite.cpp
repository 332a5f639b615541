// parasite: the securebits of this thread.
#include <linux/prctl.h>

#include "engine/resources/credentials/credentials.h"
#include "pie/syscall.h"

namespace ncr::credentials {

pie::Ret handle(const Get::Request&, Get::Reply& reply) {
  pie::Ret ret = pie::sys(__NR_prctl, PR_GET_SECUREBITS, 0, 0, 0, 0);
  reply = {static_cast<uint32_t>(ret.raw()), 0};
  return ret.ok() ? pie::Ret::success() : ret;
}

}  // namespace ncr::credentials
