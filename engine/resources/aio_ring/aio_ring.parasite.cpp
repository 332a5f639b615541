// parasite: asks each context for none of its events: the kernel says EINVAL if there is no such
// context.
#include "engine/resources/aio_ring/aio_ring.h"

#include <linux/time_types.h>

#include "pie/syscall.h"

namespace ncr::aio_ring {

pie::Ret handle(const Probe::Request& request, Probe::Reply& reply) {
  __kernel_timespec at_once{};
  for (uint32_t i = 0; i < request.count && i < kMaxRings; i++)
    reply.answers[i] =
        pie::sys(__NR_io_getevents, request.addresses[i], 0, 0, nullptr, &at_once).ok() ? 1 : 0;
  return pie::Ret::success();
}

}  // namespace ncr::aio_ring
