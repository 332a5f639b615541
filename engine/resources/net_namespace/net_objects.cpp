// What rtnetlink(7) lists and takes back in the same words (engine, on a thread in the namespace;
// root task). The kernel adds to each object what only it can say (statistics, times since boot,
// whether a next hop is dead): that is left out. IPv6 tells in the flags of an address whether it
// was looked for on the wire (duplicate address detection); one that was is not looked for again,
// so that sockets can be bound to it at once.
#include "engine/resources/net_namespace/net_objects.h"

#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/nexthop.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <time.h>

#include <algorithm>
#include <functional>
#include <set>

namespace ncr::net_namespace {
namespace {

constexpr uint16_t kAddressTypes[] = {IFA_ADDRESS,   IFA_LOCAL, IFA_LABEL,       IFA_BROADCAST,
                                      IFA_CACHEINFO, IFA_FLAGS, IFA_RT_PRIORITY, IFA_PROTO};
constexpr uint16_t kNexthopTypes[] = {NHA_ID,         NHA_GROUP, NHA_GROUP_TYPE,
                                      NHA_BLACKHOLE,  NHA_OIF,   NHA_GATEWAY,
                                      NHA_ENCAP_TYPE, NHA_ENCAP, NHA_FDB};
constexpr uint16_t kRouteTypes[] = {RTA_DST,     RTA_SRC,           RTA_IIF,        RTA_OIF,
                                    RTA_GATEWAY, RTA_PRIORITY,      RTA_PREFSRC,    RTA_FLOW,
                                    RTA_METRICS, RTA_TABLE,         RTA_MARK,       RTA_MULTIPATH,
                                    RTA_VIA,     RTA_PREF,          RTA_ENCAP_TYPE, RTA_ENCAP,
                                    RTA_EXPIRES, RTA_TTL_PROPAGATE, RTA_CACHEINFO,  RTA_NH_ID};
constexpr uint16_t kRuleTypes[] = {
    FRA_DST,      FRA_SRC,      FRA_IIFNAME,     FRA_GOTO,       FRA_PRIORITY,
    FRA_FWMARK,   FRA_FLOW,     FRA_TUN_ID,      FRA_TABLE,      FRA_SUPPRESS_IFGROUP,
    FRA_FWMASK,   FRA_OIFNAME,  FRA_L3MDEV,      FRA_UID_RANGE,  FRA_SUPPRESS_PREFIXLEN,
    FRA_PROTOCOL, FRA_IP_PROTO, FRA_SPORT_RANGE, FRA_DPORT_RANGE};
constexpr uint16_t kNeighbourTypes[] = {NDA_DST,      NDA_LLADDR, NDA_VLAN,     NDA_PORT,
                                        NDA_VNI,      NDA_MASTER, NDA_IFINDEX,  NDA_SRC_VNI,
                                        NDA_PROTOCOL, NDA_NH_ID,  NDA_FLAGS_EXT};

constexpr uint32_t kAddressWasLookedFor = IFA_F_TENTATIVE | IFA_F_DADFAILED | IFA_F_OPTIMISTIC;
constexpr uint32_t kTicksPerSecond = 100;  // USER_HZ, of struct rta_cacheinfo

struct Listing {
  uint8_t family;
  uint8_t flags = 0;  // of ndmsg
};
constexpr Listing kBothFamilies[] = {{AF_INET}, {AF_INET6}};
constexpr Listing kAnyFamily[] = {{AF_UNSPEC}};
constexpr Listing kNeighbourFamilies[] = {
    {AF_INET}, {AF_INET6}, {AF_INET, NTF_PROXY}, {AF_INET6, NTF_PROXY}, {AF_BRIDGE}};

struct Words {  // how rtnetlink speaks of a kind
  const char* name;
  uint16_t ask, add, remove;
  size_t header;
  Types types;
  std::span<const Listing> listings;
};

const Words& words_of(ObjectKind kind) {
  static constexpr Words kAddress{"address",         RTM_GETADDR,   RTM_NEWADDR, RTM_DELADDR,
                                  sizeof(ifaddrmsg), kAddressTypes, kAnyFamily};
  static constexpr Words kNexthop{"next hop",    RTM_GETNEXTHOP, RTM_NEWNEXTHOP, RTM_DELNEXTHOP,
                                  sizeof(nhmsg), kNexthopTypes,  kAnyFamily};
  static constexpr Words kRoute{"route",       RTM_GETROUTE, RTM_NEWROUTE, RTM_DELROUTE,
                                sizeof(rtmsg), kRouteTypes,  kBothFamilies};
  static constexpr Words kRule{"rule",       RTM_GETRULE,          RTM_NEWRULE,
                               RTM_DELRULE,  sizeof(fib_rule_hdr), kRuleTypes,
                               kBothFamilies};
  static constexpr Words kNeighbour{"neighbour",   RTM_GETNEIGH,    RTM_NEWNEIGH,      RTM_DELNEIGH,
                                    sizeof(ndmsg), kNeighbourTypes, kNeighbourFamilies};
  switch (kind) {
    case ObjectKind::kAddress:
      return kAddress;
    case ObjectKind::kNexthop:
      return kNexthop;
    case ObjectKind::kRoute:
      return kRoute;
    case ObjectKind::kRule:
      return kRule;
    case ObjectKind::kNeighbour:
      break;
  }
  return kNeighbour;
}

bool normalise_address(schema::NetObject* object) {
  auto header = header_of<ifaddrmsg>(object->header());
  if (header.ifa_family != AF_INET && header.ifa_family != AF_INET6) return false;
  uint32_t flags = header.ifa_flags;
  if (find(object->attributes(), IFA_FLAGS) != nullptr)
    flags = find_u32(object->attributes(), IFA_FLAGS);
  set(object->mutable_attributes(), IFA_FLAGS, bytes_of(flags));
  header.ifa_flags = 0;
  object->set_header(bytes_of(header));
  if (const std::string* bytes = find(object->attributes(), IFA_CACHEINFO)) {
    auto times = header_of<ifa_cacheinfo>(*bytes);
    times.cstamp = times.tstamp = 0;
    set(object->mutable_attributes(), IFA_CACHEINFO, bytes_of(times));
  }
  return true;
}

// The next hops of a multipath route are a row of rtnexthop, each with attributes.
std::string without_state(std::string hops) {
  for (size_t at = 0; at + sizeof(rtnexthop) <= hops.size();) {
    auto hop = header_of<rtnexthop>(std::string_view(hops).substr(at));
    if (hop.rtnh_len < sizeof hop) break;
    hop.rtnh_flags &= RTNH_F_ONLINK | RTNH_F_PERVASIVE;
    memcpy(hops.data() + at, &hop, sizeof hop);
    at += (hop.rtnh_len + size_t{3}) & ~size_t{3};
  }
  return hops;
}

bool normalise_route(schema::NetObject* object) {
  auto header = header_of<rtmsg>(object->header());
  if ((header.rtm_flags & RTM_F_CLONED) != 0) return false;
  header.rtm_flags &= RTNH_F_ONLINK | RTNH_F_PERVASIVE;
  object->set_header(bytes_of(header));
  if (const std::string* bytes = find(object->attributes(), RTA_CACHEINFO)) {
    auto times = header_of<rta_cacheinfo>(*bytes);
    if (times.rta_expires > 0)
      set(object->mutable_attributes(), RTA_EXPIRES,
          bytes_of(static_cast<uint32_t>(times.rta_expires) / kTicksPerSecond));
    drop(object->mutable_attributes(), RTA_CACHEINFO);
  }
  // A next hop of its own is told with what it stands for, and taken without.
  if (find(object->attributes(), RTA_NH_ID) != nullptr)
    for (uint16_t type : {RTA_OIF, RTA_GATEWAY, RTA_VIA, RTA_MULTIPATH, RTA_ENCAP_TYPE, RTA_ENCAP})
      drop(object->mutable_attributes(), type);
  if (const std::string* hops = find(object->attributes(), RTA_MULTIPATH))
    set(object->mutable_attributes(), RTA_MULTIPATH, without_state(*hops));
  return true;
}

bool normalise_rule(schema::NetObject* object) {
  auto header = header_of<fib_rule_hdr>(object->header());
  header.flags &= FIB_RULE_INVERT | FIB_RULE_FIND_SADDR;
  object->set_header(bytes_of(header));
  return true;
}

bool normalise_nexthop(schema::NetObject* object) {
  auto header = header_of<nhmsg>(object->header());
  header.nh_flags &= RTNH_F_ONLINK;
  header.nh_scope = 0;  // a request must not have one
  object->set_header(bytes_of(header));
  return true;
}

// Multicast addresses of a device are those of its groups, which come back by themselves.
bool normalise_neighbour(schema::NetObject* object) {
  auto header = header_of<ndmsg>(object->header());
  const std::string* link_address = find(object->attributes(), NDA_LLADDR);
  bool bridge = header.ndm_family == AF_BRIDGE;
  bool fixed = (header.ndm_state & NUD_PERMANENT) != 0 ||
               (bridge && (header.ndm_state & NUD_NOARP) != 0) ||
               (header.ndm_flags & NTF_PROXY) != 0;
  if (!fixed) return false;
  if (bridge && (header.ndm_flags & NTF_SELF) != 0 && link_address != nullptr &&
      !link_address->empty() && (link_address->front() & 1) != 0)
    return false;
  header.ndm_type = 0;
  object->set_header(bytes_of(header));
  return true;
}

Result<std::vector<netlink::Reply>> ask(netlink::Socket& socket, ObjectKind kind,
                                        const Listing& listing) {
  const Words& words = words_of(kind);
  std::string header(words.header, '\0');
  header[0] = static_cast<char>(listing.family);
  if (kind == ObjectKind::kNeighbour) {
    ndmsg question{};
    question.ndm_family = listing.family;
    question.ndm_flags = listing.flags;
    header = bytes_of(question);
  }
  netlink::Request request(words.ask, 0);
  return socket.list(request.append(header), words.name);
}

netlink::Request request_for(ObjectKind kind, const schema::NetObject& object, uint16_t type,
                             unsigned flags) {
  netlink::Request request(type, flags);
  std::string header = object.header();
  Repeated<schema::NetAttribute> attributes = object.attributes();
  if (kind == ObjectKind::kNeighbour) {
    auto neighbour = header_of<ndmsg>(header);
    uint32_t master = find_u32(attributes, NDA_MASTER);
    if (neighbour.ndm_family == AF_BRIDGE && (neighbour.ndm_flags & (NTF_SELF | NTF_MASTER)) == 0)
      neighbour.ndm_flags |= static_cast<uint8_t>(
          master != 0 && master != static_cast<uint32_t>(neighbour.ndm_ifindex) ? NTF_MASTER
                                                                                : NTF_SELF);
    header = bytes_of(neighbour);
    drop(&attributes, NDA_MASTER);
  }
  request.append(header);
  put(attributes, request);
  return request;
}

bool was_settled(const schema::NetObject& address) {
  return header_of<ifaddrmsg>(address.header()).ifa_family == AF_INET6 &&
         (find_u32(address.attributes(), IFA_FLAGS) & kAddressWasLookedFor) == 0;
}

// `more` are flags beside those of the record, of which some only the kernel sets.
Result<> send_address(netlink::Socket& socket, const schema::NetObject& object, uint32_t more,
                      unsigned how) {
  uint32_t flags = find_u32(object.attributes(), IFA_FLAGS) &
                   ~(kAddressWasLookedFor | IFA_F_PERMANENT | IFA_F_SECONDARY);
  schema::NetObject asked = object;
  set(asked.mutable_attributes(), IFA_FLAGS, bytes_of(flags | more));
  netlink::Request request = request_for(ObjectKind::kAddress, asked, RTM_NEWADDR, how);
  return socket.run(request, "address");
}

// Looked for on the wire before the dump, and so not again.
Result<> add_address(netlink::Socket& socket, const schema::NetObject& object) {
  return send_address(socket, object, was_settled(object) ? IFA_F_NODAD : 0,
                      NLM_F_CREATE | NLM_F_EXCL);
}

Result<> add(netlink::Socket& socket, ObjectKind kind, const schema::NetObject& object) {
  if (kind == ObjectKind::kAddress) return add_address(socket, object);
  const Words& words = words_of(kind);
  // Routes of one destination and metric add up; a neighbour may be there with another state.
  unsigned how = kind == ObjectKind::kNeighbour ? NLM_F_REPLACE : NLM_F_APPEND;
  netlink::Request request = request_for(kind, object, words.add, NLM_F_CREATE | how);
  Result<> added = socket.run(request, words.name);
  if (!added.ok() && added.error().os_error() == EEXIST) return {};  // the kernel was faster
  return added;
}

// A gateway is reached by a route of its own, a next hop of a group is one that was made before:
// the order in which they can be made is found by trying.
Result<> add_all(netlink::Socket& socket, ObjectKind kind,
                 std::vector<const schema::NetObject*> missing) {
  while (!missing.empty()) {
    std::vector<const schema::NetObject*> later;
    std::optional<Error> error;
    for (const schema::NetObject* object : missing) {
      Result<> added = add(socket, kind, *object);
      if (added.ok()) continue;
      if (!error.has_value()) error = added.take_error();
      later.push_back(object);
    }
    if (later.size() == missing.size()) return std::move(*error).while_doing("bring back");
    missing = std::move(later);
  }
  return {};
}

Result<std::set<uint32_t>> running_links(netlink::Socket& socket) {
  constexpr uint32_t kLowerUp = 1 << 16;  // IFF_LOWER_UP
  netlink::Request request(RTM_GETLINK, 0);
  std::vector<netlink::Reply> replies = TRY(socket.list(request.header(ifinfomsg{}), "links"));
  std::set<uint32_t> running;
  for (const netlink::Reply& reply : replies)
    if (auto header = reply.header<ifinfomsg>(); (header.ifi_flags & kLowerUp) != 0)
      running.insert(static_cast<uint32_t>(header.ifi_index));
  return running;
}

// Until `done` says so, or for half a second.
Result<> await_listing(netlink::Socket& socket, ObjectKind kind,
                       const std::function<bool(const Repeated<schema::NetObject>&)>& done) {
  constexpr int kMostNaps = 500;
  for (int naps = 0; naps < kMostNaps; naps++) {
    Repeated<schema::NetObject> present;
    TRY(list_objects(socket, kind, &present));
    if (done(present)) return {};
    timespec pause{0, 1'000'000};
    ::nanosleep(&pause, nullptr);
  }
  return {};  // whoever binds to such an address will say so
}

// The kernel takes up an address on a thread of its own. On a link without a carrier it waits for
// one, and so do we not. The flag that kept it from looking is taken off then: it would stay.
Result<> settle_addresses(netlink::Socket& socket, const Repeated<schema::NetObject>& wanted) {
  std::set<std::string> settled;
  std::set<uint32_t> running = TRY(running_links(socket));
  for (const schema::NetObject& object : wanted)
    if (was_settled(object) && running.contains(header_of<ifaddrmsg>(object.header()).ifa_index))
      settled.insert(identity(ObjectKind::kAddress, object));
  auto is_settled = [&](const schema::NetObject& object) {
    return (find_u32(object.attributes(), IFA_FLAGS) & IFA_F_TENTATIVE) == 0 ||
           !settled.contains(identity(ObjectKind::kAddress, object));
  };
  TRY(await_listing(socket, ObjectKind::kAddress, [&](const auto& present) {
    return std::all_of(present.begin(), present.end(), is_settled);
  }));
  Repeated<schema::NetObject> present;
  TRY(list_objects(socket, ObjectKind::kAddress, &present));
  std::set<std::string> marked;
  for (const schema::NetObject& object : present)
    if ((find_u32(object.attributes(), IFA_FLAGS) & IFA_F_NODAD) != 0 && is_settled(object))
      marked.insert(identity(ObjectKind::kAddress, object));
  for (const schema::NetObject& object : wanted)
    if ((find_u32(object.attributes(), IFA_FLAGS) & IFA_F_NODAD) == 0 &&
        marked.contains(identity(ObjectKind::kAddress, object)))
      TRY(send_address(socket, object, 0, NLM_F_REPLACE));
  return {};
}

// Routes to IPv6 addresses of our own come when those have been taken up.
Result<> await_own_routes(netlink::Socket& socket, const Repeated<schema::NetObject>& wanted) {
  std::set<std::string> own;
  std::set<uint32_t> running = TRY(running_links(socket));
  for (const schema::NetObject& object : wanted) {
    auto header = header_of<rtmsg>(object.header());
    if (header.rtm_family == AF_INET6 && header.rtm_protocol == RTPROT_KERNEL &&
        (header.rtm_type == RTN_LOCAL || header.rtm_type == RTN_ANYCAST) &&
        running.contains(find_u32(object.attributes(), RTA_OIF)))
      own.insert(identity(ObjectKind::kRoute, object));
  }
  return await_listing(socket, ObjectKind::kRoute, [&](const auto& present) {
    size_t found = 0;
    for (const schema::NetObject& object : present)
      found += own.count(identity(ObjectKind::kRoute, object));
    return found >= own.size();
  });
}

}  // namespace

bool normalise(ObjectKind kind, schema::NetObject* object) {
  switch (kind) {
    case ObjectKind::kAddress:
      return normalise_address(object);
    case ObjectKind::kNexthop:
      return normalise_nexthop(object);
    case ObjectKind::kRoute:
      return normalise_route(object);
    case ObjectKind::kRule:
      return normalise_rule(object);
    case ObjectKind::kNeighbour:
      break;
  }
  return normalise_neighbour(object);
}

// Without what passes by itself: times, and how far an address was looked for.
std::string identity(ObjectKind kind, const schema::NetObject& object) {
  std::set<std::string> parts;
  for (const schema::NetAttribute& attribute : object.attributes()) {
    if (kind == ObjectKind::kAddress && attribute.type() == IFA_CACHEINFO) continue;
    if (kind == ObjectKind::kRoute && attribute.type() == RTA_EXPIRES) continue;
    std::string value = attribute.value();
    if (kind == ObjectKind::kAddress && attribute.type() == IFA_FLAGS)
      value = bytes_of(netlink::Attribute{IFA_FLAGS, value, 0}.u32() &
                       ~(kAddressWasLookedFor | IFA_F_NODAD | IFA_F_STABLE_PRIVACY));
    parts.insert(bytes_of(attribute.type()) + value);
  }
  std::string all = object.header();
  for (const std::string& part : parts) all += bytes_of(part.size()) + part;
  return all;
}

Result<> check_objects(ObjectKind kind, const Repeated<schema::NetObject>& objects) {
  const Words& words = words_of(kind);
  for (const schema::NetObject& object : objects) {
    if (object.header().size() != words.header)
      return Error::malformed(
          strf("%s: its header has %zu bytes", words.name, object.header().size()));
    TRY(check(object.attributes(), words.types, words.name));
  }
  return {};
}

Result<> list_objects(netlink::Socket& socket, ObjectKind kind,
                      Repeated<schema::NetObject>* objects) {
  const Words& words = words_of(kind);
  for (const Listing& listing : words.listings) {
    Result<std::vector<netlink::Reply>> replies = ask(socket, kind, listing);
    if (!replies.ok() && replies.error().os_error() == EOPNOTSUPP) continue;  // a family less
    if (!replies.ok()) return replies.take_error();
    for (const netlink::Reply& reply : replies.value()) {
      if (reply.type != words.add || reply.body.size() < words.header) continue;
      schema::NetObject object;
      object.set_header(reply.body.substr(0, words.header));
      keep(reply.attributes(words.header), words.types, object.mutable_attributes());
      if (normalise(kind, &object)) objects->Add(std::move(object));
    }
  }
  return {};
}

Result<> make_equal(netlink::Socket& socket, ObjectKind kind,
                    const Repeated<schema::NetObject>& wanted) {
  const Words& words = words_of(kind);
  if (kind == ObjectKind::kRoute) TRY(await_own_routes(socket, wanted));
  Repeated<schema::NetObject> present;
  TRY(list_objects(socket, kind, &present));
  std::set<std::string> there, needed;
  for (const schema::NetObject& object : present) there.insert(identity(kind, object));
  for (const schema::NetObject& object : wanted) needed.insert(identity(kind, object));
  if (kind != ObjectKind::kNeighbour)
    for (const schema::NetObject& object : present) {
      if (needed.contains(identity(kind, object))) continue;
      netlink::Request request = request_for(kind, object, words.remove, 0);
      Result<> removed = socket.run(request, words.name);
      // The kernel may take away one with the other.
      if (!removed.ok() && removed.error().os_error() != ESRCH &&
          removed.error().os_error() != ENOENT && removed.error().os_error() != EADDRNOTAVAIL)
        return removed.take_error().while_doing("take away what is too many");
    }
  std::vector<const schema::NetObject*> missing;
  for (const schema::NetObject& object : wanted)
    if (!there.contains(identity(kind, object))) missing.push_back(&object);
  TRY(add_all(socket, kind, std::move(missing)));
  return kind == ObjectKind::kAddress ? settle_addresses(socket, wanted) : Result<>();
}

}  // namespace ncr::net_namespace
