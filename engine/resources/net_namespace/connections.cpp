// Tracked connections (struct nf_conn), as ctnetlink tells and takes them (engine, on a thread in
// the namespace; root task). A rule that lets packets of known connections pass would stop those of
// the restored tree otherwise. An entry with translated addresses is tied to the rule that made it,
// and is refused by name; what was left of the time of each goes on.
#include "engine/resources/net_namespace/connections.h"

#include <arpa/inet.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netlink.h>

namespace ncr::net_namespace {
namespace {

constexpr const char* kCount = "/proc/sys/net/netfilter/nf_conntrack_count";
constexpr uint16_t kTypes[] = {CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_STATUS, CTA_PROTOINFO,
                               CTA_TIMEOUT,    CTA_MARK,        CTA_ZONE,   CTA_LABELS};
constexpr uint16_t kMessage = NFNL_SUBSYS_CTNETLINK << 8;

uint32_t status_of(const schema::NetObject& connection) {
  return ntohl(find_u32(connection.attributes(), CTA_STATUS));
}

// Flags of TCP are told without a mask, and none is taken that no mask has.
std::string with_masks(std::string_view info) {
  std::string_view tcp = netlink::Attributes::find(info, CTA_PROTOINFO_TCP).value;
  if (tcp.empty()) return std::string(info);
  netlink::Request request(0, 0);
  const size_t start = request.finish(0, 0).size();
  size_t nest = request.nest(CTA_PROTOINFO_TCP);
  netlink::Attributes walk(tcp);
  netlink::Attribute attribute;
  while (walk.next(&attribute)) {
    std::string value(attribute.value);
    const bool flags = attribute.type == CTA_PROTOINFO_TCP_FLAGS_ORIGINAL ||
                       attribute.type == CTA_PROTOINFO_TCP_FLAGS_REPLY;
    if (flags && value.size() == 2) value[1] = '\xff';
    request.put(attribute.type, value);
  }
  request.end(nest);
  return request.finish(0, 0).substr(start);
}

}  // namespace

Result<> dump_connections(Repeated<schema::NetObject>* connections, Refusals* refusals) {
  Result<std::string> count = sys::read_file(kCount);
  if (!count.ok() || count.value() == "0\n") return {};
  netlink::Socket socket = TRY(netlink::Socket::open(NETLINK_NETFILTER));
  netlink::Request request(kMessage | IPCTNL_MSG_CT_GET, 0);
  size_t translated = 0;
  for (const netlink::Reply& reply :
       TRY(socket.list(request.header(nfgenmsg{}), "tracked connections"))) {
    schema::NetObject connection;
    connection.set_header(reply.body.substr(0, sizeof(nfgenmsg)));
    keep(reply.attributes(sizeof(nfgenmsg)), kTypes, connection.mutable_attributes());
    uint32_t status = status_of(connection);
    if ((status & IPS_DYING) != 0) continue;
    if ((status & IPS_NAT_MASK) != 0) translated++;
    connections->Add(std::move(connection));
  }
  if (translated > 0)
    refusals->push_back({strf("%zu tracked connections", translated),
                         "their addresses are translated (NAT)",
                         "let them end, or forget them (conntrack -F)"});
  return {};
}

Result<> check_connections(const Repeated<schema::NetObject>& connections) {
  for (const schema::NetObject& connection : connections) {
    if (connection.header().size() != sizeof(nfgenmsg))
      return Error::malformed("tracked connection: a header of a wrong size");
    TRY(check(connection.attributes(), kTypes, "tracked connection"));
  }
  return {};
}

// One may have been tracked again meanwhile: that is as good.
Result<> build_connections(const Repeated<schema::NetObject>& connections) {
  if (connections.empty()) return {};
  netlink::Socket socket = TRY(netlink::Socket::open(NETLINK_NETFILTER));
  for (const schema::NetObject& connection : connections) {
    netlink::Request request(kMessage | IPCTNL_MSG_CT_NEW, NLM_F_CREATE | NLM_F_EXCL);
    request.append(connection.header());
    for (const schema::NetAttribute& attribute : connection.attributes())
      request.put(static_cast<uint16_t>(attribute.type()),
                  (attribute.type() & NLA_TYPE_MASK) == CTA_PROTOINFO
                      ? with_masks(attribute.value())
                      : attribute.value());
    Result<> made = socket.run(request, "tracked connection");
    if (!made.ok() && made.error().os_error() != EEXIST) return made;
  }
  return {};
}

}  // namespace ncr::net_namespace
