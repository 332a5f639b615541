// See queueing.h. A discipline that the kernel chose has no number; it is chosen again. The others
// are told by RTM_GETQDISC and RTM_GETTCLASS as RTM_NEW* takes them, each below a class or a
// discipline that must be there before it. Only kinds that tell all of themselves are kept (netem
// has tables that it does not tell), and no filters, whose numbers depend on the order they were
// made in. What waits in a queue is lost.
#include "engine/resources/net_namespace/queueing.h"

#include <linux/netlink.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <set>

namespace ncr::net_namespace {
namespace {

using Objects = Repeated<schema::NetObject>;

constexpr uint16_t kTypes[] = {TCA_KIND, TCA_OPTIONS};
// TCA_STAB comes without its table; blocks are shared filters.
constexpr uint16_t kNotKept[] = {TCA_STAB, TCA_INGRESS_BLOCK, TCA_EGRESS_BLOCK};
constexpr std::string_view kKinds[] = {"htb",     "tbf",    "pfifo",    "bfifo", "pfifo_head_drop",
                                       "ingress", "clsact", "fq_codel", "codel", "prio"};
constexpr size_t kMostObjects = 100'000;
constexpr uint32_t kMinIngress = 0xfff2, kMinEgress = 0xfff3;  // TC_H_MIN_INGRESS, _EGRESS

std::string_view kind_of(const schema::NetObject& object) {
  const std::string* kind = find(object.attributes(), TCA_KIND);
  return kind == nullptr ? std::string_view() : std::string_view(kind->c_str());
}

tcmsg place_of(const schema::NetObject& object) { return header_of<tcmsg>(object.header()); }

// htb tells its version whole and takes the upper half; how many packets went past its classes is
// no setting.
std::string htb_as_made(std::string_view options) {
  netlink::Request made(0, 0);
  const size_t empty = made.finish(0, 0).size();
  netlink::Attributes walk(options);
  for (netlink::Attribute attribute; walk.next(&attribute);) {
    if (attribute.type != TCA_HTB_INIT) {
      made.put(static_cast<uint16_t>(attribute.type | attribute.flags), attribute.value);
      continue;
    }
    auto init = header_of<tc_htb_glob>(attribute.value);
    init.version >>= 16;
    init.direct_pkts = 0;
    made.put_value(TCA_HTB_INIT, init);
  }
  return made.finish(0, 0).substr(empty);
}

schema::NetObject object_of(const netlink::Reply& reply) {
  auto header = reply.header<tcmsg>();
  header.tcm_info = 0;  // of a class: its leaf; of a discipline: how many use it
  schema::NetObject object;
  object.set_header(bytes_of(header));
  keep(reply.attributes(sizeof header), kTypes, object.mutable_attributes());
  return object;
}

Result<std::vector<netlink::Reply>> list(netlink::Socket& socket, uint16_t type, int link,
                                         uint32_t parent, const char* what) {
  tcmsg question{};
  question.tcm_ifindex = link;
  question.tcm_parent = parent;
  netlink::Request request(type, 0);
  Result<std::vector<netlink::Reply>> replies = socket.list(request.header(question), what);
  if (!replies.ok() && replies.error().os_error() == EOPNOTSUPP)
    return std::vector<netlink::Reply>();
  return replies;
}

// Of a discipline or a class.
Result<bool> has_filters(netlink::Socket& socket, const schema::NetObject& object) {
  const tcmsg place = place_of(object);
  std::vector<uint32_t> parents{place.tcm_handle};
  if (kind_of(object) == "clsact")
    parents = {TC_H_MAKE(TC_H_CLSACT, kMinIngress), TC_H_MAKE(TC_H_CLSACT, kMinEgress)};
  for (uint32_t parent : parents)
    if (!TRY(list(socket, RTM_GETTFILTER, place.tcm_ifindex, parent, "filters")).empty())
      return true;
  return false;
}

// Empty if it can be made again.
Result<std::string> obstacle(netlink::Socket& socket, const netlink::Reply& reply,
                             const schema::NetObject& discipline) {
  if (std::find(std::begin(kKinds), std::end(kKinds), kind_of(discipline)) == std::end(kKinds))
    return std::string("disciplines of this kind cannot be made again");
  for (uint16_t type : kNotKept)
    if (netlink::Attributes::has(reply.attributes(sizeof(tcmsg)), type))
      return std::string("its size table or its shared filters cannot be read back");
  if (TRY(has_filters(socket, discipline)))
    return std::string("it has filters, which are not kept");
  return std::string();
}

Result<> dump_discipline(netlink::Socket& socket, const netlink::Reply& reply,
                         const std::string& link, schema::NetNamespace* record,
                         Refusals* refusals) {
  schema::NetObject discipline = object_of(reply);
  const std::string kind(kind_of(discipline));
  const std::string reason = TRY(obstacle(socket, reply, discipline));
  if (!reason.empty()) {
    const bool root = place_of(discipline).tcm_parent == TC_H_ROOT;
    refusals->push_back(
        {strf("link %s: queueing discipline %s", link.c_str(), kind.c_str()), reason,
         strf("take it away: tc qdisc del dev %s %s", link.c_str(), root ? "root" : kind.c_str())});
    return {};
  }
  const std::string* options = find(discipline.attributes(), TCA_OPTIONS);
  if (kind == "htb" && options != nullptr)
    set(discipline.mutable_attributes(), TCA_OPTIONS, htb_as_made(*options));
  *record->add_disciplines() = std::move(discipline);
  return {};
}

Result<> dump_classes(netlink::Socket& socket, const schema::NetObject& discipline,
                      const std::string& link, schema::NetNamespace* record, Refusals* refusals) {
  const tcmsg place = place_of(discipline);
  for (const netlink::Reply& reply :
       TRY(list(socket, RTM_GETTCLASS, place.tcm_ifindex, place.tcm_handle, "classes"))) {
    schema::NetObject object = object_of(reply);
    if (TRY(has_filters(socket, object)))
      refusals->push_back(
          {strf("link %s: class %x of htb", link.c_str(), TC_H_MIN(place_of(object).tcm_handle)),
           "it has filters, which are not kept", ""});
    *record->add_classes() = std::move(object);
  }
  return {};
}

using Done = std::set<std::pair<int, uint32_t>>;  // of a link: a discipline or a class

bool can_be_made(const schema::NetObject& object, bool is_class, const Done& done) {
  const tcmsg place = place_of(object);
  if (is_class && place.tcm_parent == TC_H_ROOT)
    return done.contains({place.tcm_ifindex, TC_H_MAJ(place.tcm_handle)});
  return place.tcm_parent == TC_H_ROOT || place.tcm_parent == TC_H_CLSACT ||
         done.contains({place.tcm_ifindex, place.tcm_parent});
}

// Those first that others stand on.
struct Step {
  const schema::NetObject* object;
  bool is_class;
};
Result<std::vector<Step>> in_order(const schema::NetNamespace& record) {
  std::vector<Step> left, ordered;
  for (const schema::NetObject& object : record.disciplines()) left.push_back({&object, false});
  for (const schema::NetObject& object : record.classes()) left.push_back({&object, true});
  Done done;
  while (!left.empty()) {
    const size_t before = left.size();
    std::vector<Step> waiting;
    for (const Step& step : left) {
      if (!can_be_made(*step.object, step.is_class, done)) {
        waiting.push_back(step);
        continue;
      }
      const tcmsg place = place_of(*step.object);
      done.insert({place.tcm_ifindex, place.tcm_handle});
      ordered.push_back(step);
    }
    left = std::move(waiting);
    if (left.size() == before)
      return Error::malformed("queueing disciplines that stand on each other, or on none");
  }
  return ordered;
}

Result<> check_objects(const Objects& objects) {
  if (static_cast<size_t>(objects.size()) > kMostObjects)
    return Error::malformed("too many queueing disciplines");
  for (const schema::NetObject& object : objects) {
    if (object.header().size() != sizeof(tcmsg))
      return Error::malformed("queueing discipline: a header of a wrong size");
    TRY(check(object.attributes(), kTypes, "queueing discipline"));
    if (std::find(std::begin(kKinds), std::end(kKinds), kind_of(object)) == std::end(kKinds))
      return Error::malformed("a queueing discipline of a kind that nativecr does not dump");
  }
  return {};
}

}  // namespace

Result<> dump_queueing(netlink::Socket& socket, schema::NetNamespace* record, Refusals* refusals) {
  std::map<int, std::string> names;
  for (const schema::NetLink& link : record->links())
    names[static_cast<int>(link.index())] = link.name();
  for (const netlink::Reply& reply :
       TRY(list(socket, RTM_GETQDISC, 0, 0, "queueing disciplines"))) {
    const auto header = reply.header<tcmsg>();
    if (reply.type != RTM_NEWQDISC || header.tcm_handle == 0) continue;
    TRY(dump_discipline(socket, reply, names[header.tcm_ifindex], record, refusals));
  }
  for (const schema::NetObject& discipline : record->disciplines())
    if (kind_of(discipline) == "htb")  // classes of others come with them
      TRY(dump_classes(socket, discipline, names[place_of(discipline).tcm_ifindex], record,
                       refusals));
  return {};
}

Result<> check_queueing(const schema::NetNamespace& record) {
  TRY(check_objects(record.disciplines()));
  TRY(check_objects(record.classes()));
  TRY(in_order(record));
  return {};
}

Result<> build_queueing(netlink::Socket& socket, const schema::NetNamespace& record) {
  for (const Step& step : TRY(in_order(record))) {
    netlink::Request request(step.is_class ? RTM_NEWTCLASS : RTM_NEWQDISC,
                             NLM_F_CREATE | NLM_F_EXCL);
    request.append(step.object->header());
    put(step.object->attributes(), request);
    TRY_WHILE(socket.run(request, "make"), "queueing discipline %x:%x (%s)",
              TC_H_MAJ(place_of(*step.object).tcm_handle) >> 16,
              TC_H_MIN(place_of(*step.object).tcm_handle),
              std::string(kind_of(*step.object)).c_str());
  }
  return {};
}

}  // namespace ncr::net_namespace
