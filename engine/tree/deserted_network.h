// A network namespace that ends with the tree that lived in it. The kernel takes one apart in
// steps: nftables first, addresses and links much later. What arrives in between would be answered
// with RST.
#pragma once

#include "engine/base/netlink.h"

namespace ncr {

// No process is in it, and no mount of ours holds it.
Result<bool> is_deserted(uint64_t net_namespace_inode);

// Nothing comes in or goes out any more, in the namespace of this NETLINK_ROUTE socket.
Result<> take_links_down(netlink::Socket& routes);

}  // namespace ncr
