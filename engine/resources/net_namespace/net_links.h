// The links of a network namespace: looked at, and made again.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/request.h"
#include "engine/resources/net_namespace/net_record.h"

namespace ncr::tun {
class DeviceDesk;  // engine/resources/tun/device_desk.h
}

namespace ncr::net_namespace {

struct Refusal {  // of what cannot be made again
  std::string object;
  std::string reason;
  std::string way_out;
};
using Refusals = std::vector<Refusal>;

struct Neighbourhood {  // another network namespace of the tree, as the kernel numbers it here
  int32_t number = 0;
  uint64_t inode = 0;
};

// Dump, on a thread in the namespace.
Result<> list_links(netlink::Socket& socket, Repeated<schema::NetLink>* links);
// Pure: the answer to RTM_GETLINK, from ifinfomsg on.
Result<schema::NetLink> parse_link(const netlink::Reply& reply,
                                   const std::vector<Neighbourhood>& others, Refusals* refusals);
Result<> dump_links(netlink::Socket& socket, const std::vector<Neighbourhood>& others,
                    const std::vector<External>& externals, schema::NetNamespace* record,
                    Refusals* refusals);

// Pure: an image may be anybody's.
Result<> check_links(const Repeated<schema::NetLink>& links);
// Lower links before those that stand on them; an error if they stand on each other.
Result<std::vector<const schema::NetLink*>> in_order(const Repeated<schema::NetLink>& links);

// What lies beyond the namespace: where the far end of a veth into another network namespace of the
// tree goes, and who opens devices for it.
struct FarEnds {
  std::function<const schema::NetLink*(const schema::NetLink&)> link;  // null: not in the image
  std::function<int(const schema::NetLink&)> descriptor;               // of the namespace; or -1
  const tun::DeviceDesk* devices = nullptr;
};

// Restore, root task: makes them, all down; those that are there already (lo, what was brought from
// outside) only get their settings.
Result<> make_links(netlink::Socket& socket, const Repeated<schema::NetLink>& links,
                    const FarEnds& far);
Result<> bring_up(netlink::Socket& socket, const Repeated<schema::NetLink>& links);
// Which a link that comes up takes from its own.
Result<> set_mtus6(const Repeated<schema::NetLink>& links);
// Once addresses and routes are there: the kernel may make IPv6 addresses by itself again.
Result<> allow_addresses(netlink::Socket& socket, const Repeated<schema::NetLink>& links);

}  // namespace ncr::net_namespace
