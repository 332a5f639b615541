// engine, child: capget(2) on ourselves.
#include "engine/resources/credentials/own_capabilities.h"

#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <set>

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

Result<> check_capabilities(const Image& image) {
  const CapabilitySets ours = TRY(own_capabilities());
  std::set<uint32_t> spaces;
  for (const schema::Namespace& space : image.namespaces)
    if (space.has_user()) spaces.insert(space.id());
  for (const schema::Task& task : image.tasks) {
    if (std::any_of(task.namespaces().begin(), task.namespaces().end(),
                    [&](uint32_t id) { return spaces.contains(id); }))
      continue;
    for (const schema::Thread& thread : task.threads()) {
      const uint64_t missing = thread.credentials().cap_permitted() & ~ours.permitted;
      if (missing != 0)
        return Error::unsupported(
            strf("thread %d of task %d (%s) had capabilities 0x%llx that this process has not; "
                 "restore with more capabilities",
                 thread.tid(), task.pid(), task.comm().c_str(),
                 static_cast<unsigned long long>(missing)));
    }
  }
  return {};
}

}  // namespace ncr::credentials
