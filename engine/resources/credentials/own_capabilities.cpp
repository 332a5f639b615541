// engine, child: capget(2) on ourselves.
#include "engine/resources/credentials/own_capabilities.h"

#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/base/sys.h"

namespace ncr::credentials {

Result<CapabilitySets> own_capabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  TRY(SYSCALL(::syscall(SYS_capget, &header, data), "capget"));
  auto whole = [&](uint32_t low, uint32_t high) { return uint64_t{high} << 32 | low; };
  return CapabilitySets{whole(data[0].effective, data[1].effective),
                        whole(data[0].permitted, data[1].permitted),
                        whole(data[0].inheritable, data[1].inheritable)};
}

Result<uint64_t> own_effective_capabilities() {
  CapabilitySets sets = TRY(own_capabilities());
  return sets.effective;
}

}  // namespace ncr::credentials
