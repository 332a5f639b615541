// See bridge_groups.h. RTM_GETMDB tells a list for each bridge; those entries that a bridge has
// learned it learns again. An entry goes back as it came (struct br_mdb_entry), with the source it
// is for; the kernel takes one only for a bridge that is up.
#include "engine/resources/net_namespace/bridge_groups.h"

#include <linux/if.h>
#include <linux/if_bridge.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>

namespace ncr::net_namespace {
namespace {

constexpr uint16_t kTypes[] = {MDBA_SET_ENTRY, MDBA_SET_ENTRY_ATTRS};

const schema::NetLink* bridge_at(const schema::NetNamespace& record, uint32_t index) {
  for (const schema::NetLink& link : record.links())
    if (link.index() == index) return &link;
  return nullptr;
}

// `told`: an entry and its attributes.
schema::NetObject object_of(br_port_msg bridge, std::string_view told) {
  bridge.family = AF_BRIDGE;  // which the answer leaves out
  auto entry = header_of<br_mdb_entry>(told);
  entry.flags = 0;  // told only
  schema::NetObject object;
  object.set_header(bytes_of(bridge));
  set(object.mutable_attributes(), MDBA_SET_ENTRY, bytes_of(entry));
  const std::string_view attributes = told.substr(std::min(sizeof entry, told.size()));
  const std::string_view source =
      netlink::Attributes::find(attributes, MDBA_MDB_EATTR_SOURCE).value;
  if (source.empty()) return object;
  netlink::Request nested(0, 0);
  const size_t empty = nested.finish(0, 0).size();
  nested.put(MDBE_ATTR_SOURCE, source);
  set(object.mutable_attributes(), MDBA_SET_ENTRY_ATTRS, nested.finish(0, 0).substr(empty));
  return object;
}

// Empty if it can be set again.
const char* obstacle(const schema::NetLink* bridge, std::string_view told) {
  const std::string_view attributes = told.substr(std::min(sizeof(br_mdb_entry), told.size()));
  if (!netlink::Attributes::find(attributes, MDBA_MDB_EATTR_SRC_LIST).value.empty())
    return "it has a list of sources, which is not kept";
  if (bridge == nullptr || (bridge->flags() & IFF_UP) == 0)
    return "its bridge is down, and takes it only when it is up";
  return "";
}

Result<> dump_bridge(const netlink::Reply& reply, schema::NetNamespace* record,
                     Refusals* refusals) {
  const auto header = reply.header<br_port_msg>();
  const schema::NetLink* bridge = bridge_at(*record, header.ifindex);
  netlink::Attributes entries(
      netlink::Attributes::find(reply.attributes(sizeof header), MDBA_MDB).value);
  for (netlink::Attribute entry; entries.next(&entry);) {
    netlink::Attributes infos(entry.value);
    for (netlink::Attribute info; infos.next(&info);) {
      if (info.type != MDBA_MDB_ENTRY_INFO ||
          header_of<br_mdb_entry>(info.value).state != MDB_PERMANENT)
        continue;
      const char* reason = obstacle(bridge, info.value);
      if (*reason != '\0')
        refusals->push_back(
            {strf("multicast group of bridge %s", bridge == nullptr ? "?" : bridge->name().c_str()),
             reason, "take it away: bridge mdb del"});
      else
        *record->add_bridge_groups() = object_of(header, info.value);
    }
  }
  return {};
}

}  // namespace

Result<> dump_bridge_groups(netlink::Socket& socket, schema::NetNamespace* record,
                            Refusals* refusals) {
  const auto& links = record->links();
  if (std::none_of(links.begin(), links.end(),
                   [](const schema::NetLink& link) { return link.kind() == "bridge"; }))
    return {};
  netlink::Request request(RTM_GETMDB, 0);
  br_port_msg question{};
  question.family = AF_BRIDGE;
  Result<std::vector<netlink::Reply>> bridges =
      socket.list(request.header(question), "groups of bridges");
  if (!bridges.ok() && bridges.error().os_error() == EOPNOTSUPP) return {};
  if (!bridges.ok()) return bridges.take_error();
  for (const netlink::Reply& reply : bridges.value()) TRY(dump_bridge(reply, record, refusals));
  return {};
}

Result<> check_bridge_groups(const Repeated<schema::NetObject>& groups) {
  for (const schema::NetObject& object : groups) {
    if (object.header().size() != sizeof(br_port_msg))
      return Error::malformed("group of a bridge: a header of a wrong size");
    TRY(check(object.attributes(), kTypes, "group of a bridge"));
  }
  return {};
}

Result<> build_bridge_groups(netlink::Socket& socket, const Repeated<schema::NetObject>& groups) {
  for (const schema::NetObject& object : groups) {
    netlink::Request request(RTM_NEWMDB, NLM_F_CREATE | NLM_F_EXCL);
    request.append(object.header());
    for (const schema::NetAttribute& attribute : object.attributes())
      request.put(static_cast<uint16_t>(attribute.type() == MDBA_SET_ENTRY_ATTRS
                                            ? MDBA_SET_ENTRY_ATTRS | NLA_F_NESTED
                                            : attribute.type()),
                  attribute.value());
    Result<> made = socket.run(request, "group of a bridge");
    // The host's own group may be there again by an address of the bridge.
    if (!made.ok() && made.error().os_error() != EEXIST) return made;
  }
  return {};
}

}  // namespace ncr::net_namespace
