// See deserted_network.h. struct net, found by the inode of its nsfs file; cleanup_net() of the
// kernel calls pre_exit of every subsystem (nftables leaves there), waits for RCU, and only then
// unregisters the links. (engine)
#include "engine/tree/deserted_network.h"

#include <linux/rtnetlink.h>
#include <net/if.h>

#include "engine/tree/process_table.h"

namespace ncr {

Result<bool> is_deserted(uint64_t net_namespace_inode) {
  const std::string link = strf("net:[%llu]", static_cast<unsigned long long>(net_namespace_inode));
  const std::string mounts = TRY(sys::read_file("/proc/self/mountinfo"));
  if (mounts.find(" " + link + " ") != std::string::npos) return false;
  const std::vector<pid_t> processes = TRY(sys::numbered_entries(Fd(), "/proc"));
  for (pid_t pid : processes) {
    // A process that is gone, or dead, is in none.
    Result<std::string> theirs = sys::read_link_at(Fd(), strf("/proc/%d/ns/net", pid).c_str());
    if (theirs.ok() && theirs.value() == link) return false;
  }
  return true;
}

Result<> take_links_down(netlink::Socket& routes) {
  netlink::Request question(RTM_GETLINK, 0);
  question.header(ifinfomsg{});
  for (const netlink::Reply& link : TRY(routes.list(question, "links"))) {
    const auto found = link.header<ifinfomsg>();
    if (link.type != RTM_NEWLINK || (found.ifi_flags & IFF_UP) == 0) continue;
    ifinfomsg down{};
    down.ifi_index = found.ifi_index;
    down.ifi_change = IFF_UP;
    netlink::Request request(RTM_NEWLINK, 0);
    request.header(down);
    TRY(routes.run(request, "take a link down"));
  }
  return {};
}

}  // namespace ncr
