// struct neigh_parms of the ARP and the NDISC table (engine, on a thread in the namespace; root
// task). What they start with and the sizes of the tables are the
// machine's.
#include "engine/resources/net_namespace/neighbour_settings.h"

#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <map>

namespace ncr::net_namespace {
namespace {

constexpr uint16_t kTableTypes[] = {NDTA_NAME, NDTA_PARMS};
constexpr uint16_t kSetTypes[] = {NDTPA_BASE_REACHABLE_TIME,
                                  NDTPA_RETRANS_TIME,
                                  NDTPA_GC_STALETIME,
                                  NDTPA_DELAY_PROBE_TIME,
                                  NDTPA_APP_PROBES,
                                  NDTPA_UCAST_PROBES,
                                  NDTPA_MCAST_PROBES,
                                  NDTPA_ANYCAST_DELAY,
                                  NDTPA_PROXY_DELAY,
                                  NDTPA_PROXY_QLEN,
                                  NDTPA_LOCKTIME,
                                  NDTPA_QUEUE_LENBYTES,
                                  NDTPA_MCAST_REPROBES,
                                  NDTPA_INTERVAL_PROBE_TIME_MS};

uint32_t index_of(const schema::NetObject& object) {
  const std::string* settings = find(object.attributes(), NDTA_PARMS);
  return settings == nullptr ? 0 : netlink::Attributes::find(*settings, NDTPA_IFINDEX).u32();
}

std::string key(const schema::NetObject& object) {
  const std::string* name = find(object.attributes(), NDTA_NAME);
  return object.header() + (name == nullptr ? "" : *name) + bytes_of(index_of(object));
}

}  // namespace

Result<> list_neighbour_settings(netlink::Socket& socket, Repeated<schema::NetObject>* settings) {
  netlink::Request request(RTM_GETNEIGHTBL, 0);
  for (const netlink::Reply& reply :
       TRY(socket.list(request.header(ndtmsg{}), "neighbour tables"))) {
    auto header = reply.header<ndtmsg>();
    if (reply.type != RTM_NEWNEIGHTBL) continue;
    if (header.ndtm_family != AF_INET && header.ndtm_family != AF_INET6) continue;
    schema::NetObject object;
    object.set_header(bytes_of(header));
    keep(reply.attributes(sizeof header), kTableTypes, object.mutable_attributes());
    if (index_of(object) != 0) settings->Add(std::move(object));
  }
  return {};
}

Result<> check_neighbour_settings(const Repeated<schema::NetObject>& settings) {
  for (const schema::NetObject& object : settings) {
    if (object.header().size() != sizeof(ndtmsg))
      return Error::malformed("neighbour table: a header of a wrong size");
    TRY(check(object.attributes(), kTableTypes, "neighbour table"));
  }
  return {};
}

Result<> set_neighbour_settings(netlink::Socket& socket,
                                const Repeated<schema::NetObject>& wanted) {
  Repeated<schema::NetObject> listed;
  TRY(list_neighbour_settings(socket, &listed));
  std::map<std::string, const schema::NetObject*> present;
  for (const schema::NetObject& object : listed) present[key(object)] = &object;
  for (const schema::NetObject& object : wanted) {
    auto found = present.find(key(object));
    const std::string* name = find(object.attributes(), NDTA_NAME);
    const std::string* values = find(object.attributes(), NDTA_PARMS);
    if (found == present.end() || name == nullptr || values == nullptr) continue;
    const std::string& there = *find(found->second->attributes(), NDTA_PARMS);
    Repeated<schema::NetAttribute> all;
    keep(*values, kSetTypes, &all);
    netlink::Request request(RTM_SETNEIGHTBL, 0);
    request.append(object.header()).put(NDTA_NAME, *name);
    size_t nest = request.nest(NDTA_PARMS);
    request.put_value(NDTPA_IFINDEX, index_of(object));
    bool any = false;
    for (const schema::NetAttribute& attribute : all) {
      auto type = static_cast<uint16_t>(attribute.type());
      if (netlink::Attributes::find(there, type).value == attribute.value()) continue;
      request.put(type, attribute.value());
      any = true;
    }
    request.end(nest);
    if (any) TRY(socket.run(request, "neighbour table"));
  }
  return {};
}

}  // namespace ncr::net_namespace
