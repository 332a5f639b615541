// Network namespace (struct net): links, addresses, routes, rules, neighbours, and their sysctls.
// It is looked at on a thread of the engine that has entered it, and filled by the root task, which
// has made it. A veth whose other end is outside the tree is made by the restore's caller or from
// what the request says; the kernel numbers other namespaces as this one sees them, so each of the
// tree's is asked for its number.
#include <fcntl.h>
#include <linux/net_namespace.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <optional>
#include <set>

#include "engine/resources/net_namespace/firewall.h"
#include "engine/resources/net_namespace/links_from_outside.h"
#include "engine/resources/net_namespace/net_content.h"
#include "engine/resources/room.h"
#include "engine/resources/tun/tun.h"
#include "engine/resources/user_namespace/id_map.h"

namespace ncr::net_namespace {
namespace {

Result<std::vector<Neighbourhood>> find_others(const NamespaceProbe& probe) {
  netlink::Socket socket = TRY(netlink::Socket::open(NETLINK_ROUTE));
  struct stat own {};
  TRY(SYSCALL(::fstat(probe.fd.get(), &own), "fstat of a namespace"));
  std::vector<Neighbourhood> others;
  Repeated<schema::NetLink> links;
  // What leads to the namespace of whoever dumps leads outside, though a task be there. /proc/self
  // would not tell which that is: the thread that looks at sockets goes into theirs now and then.
  std::set<uint64_t> seen{own.st_ino, probe.engines};
  auto add = [&](int nsfs) -> Result<> {
    struct stat status {};
    TRY(SYSCALL(::fstat(nsfs, &status), "fstat of a namespace"));
    if (!seen.insert(status.st_ino).second) return {};
    // Numbers are given when links are told of that lead there.
    if (links.empty()) TRY(list_links(socket, &links));
    netlink::Request request(RTM_GETNSID, 0);
    request.header(rtgenmsg{}).put_value(NETNSA_FD, static_cast<uint32_t>(nsfs));
    netlink::Reply reply = TRY(socket.get(request, "number of a namespace"));
    auto number = static_cast<int32_t>(
        netlink::Attributes::find(reply.attributes(sizeof(rtgenmsg)), NETNSA_NSID).u32());
    if (number >= 0) others.push_back({number, status.st_ino});
    return {};
  };
  for (const Task& task : probe.tasks) {
    if (!task.alive()) continue;
    Fd fd = TRY(sys::open_at(task.proc, "ns/net", O_RDONLY));
    TRY(add(fd.get()));
  }
  for (int nsfs : probe.deserted) TRY(add(nsfs));
  return others;
}

using user_namespace::IdRanges;

// "0\t200" of ours, as the user namespace of the tree counts; nothing if it has no such number.
// Without a group in it ("1\t0"), as every namespace begins, it says nothing.
std::optional<std::string> inner_range(const std::string& range, const IdRanges& groups) {
  unsigned low = 1, high = 0;
  if (sscanf(range.c_str(), "%u %u", &low, &high) != 2 || low > high) return range;
  std::optional<uint32_t> first = user_namespace::inside(groups, low);
  std::optional<uint32_t> last = user_namespace::inside(groups, high);
  if (!first.has_value() || !last.has_value()) return std::nullopt;
  return strf("%u\t%u", *first, *last);
}

Result<IdRanges> read_map(const Task& task, const char* file) {
  IdRanges ranges;
  const std::string text = TRY(sys::read_file_at(task.proc, file));
  TRY(user_namespace::parse_id_map(text, &ranges));
  return ranges;
}

// The kernel told us ids as our user namespace counts; the tree's root will say them in its own.
Result<> translate_ids(const Task& root, schema::NetNamespace* net, Refusals* refusals) {
  Fd self = TRY(sys::open("/proc/self", O_PATH | O_DIRECTORY));
  const std::string ours = TRY(sys::read_link_at(self, "ns/user"));
  if (ours == TRY(sys::read_link_at(root.proc, "ns/user"))) return {};
  IdRanges users = TRY(read_map(root, "uid_map"));
  IdRanges groups = TRY(read_map(root, "gid_map"));
  const char* reason = "an id in it has no number in the user namespace of the tree";
  for (schema::NetSysctl& sysctl : *net->mutable_sysctls()) {
    if (sysctl.name() != "ipv4/ping_group_range") continue;
    std::optional<std::string> inner = inner_range(sysctl.value(), groups);
    if (inner.has_value())
      sysctl.set_value(*inner);
    else
      refusals->push_back({"sysctl net.ipv4.ping_group_range", reason, ""});
  }
  for (schema::NetLink& link : *net->mutable_links()) {
    if (!link.has_tun()) continue;
    schema::NetTun* tun = link.mutable_tun();
    std::optional<uint32_t> owner = user_namespace::inside(users, tun->owner());
    std::optional<uint32_t> group = user_namespace::inside(groups, tun->group());
    if ((tun->has_owner() && !owner.has_value()) || (tun->has_group() && !group.has_value()))
      refusals->push_back({strf("link %s", link.name().c_str()), reason, ""});
    if (tun->has_owner()) tun->set_owner(owner.value_or(0));
    if (tun->has_group()) tun->set_group(group.value_or(0));
  }
  return {};
}

// Those of the tree come back with its descriptors.
Result<> refuse_tuns_of_others(const NamespaceProbe& probe, const schema::NetNamespace& net,
                               Refusals* refusals) {
  std::optional<std::set<std::string>> held;
  for (const schema::NetLink& link : net.links()) {
    if (!link.tun().fleeting()) continue;
    if (!held.has_value()) held = TRY(tun::links_held_by(probe.tasks, probe.fd));
    if (!held->contains(link.name()))
      refusals->push_back({strf("link %s, of kind tun", link.name().c_str()),
                           "it lives only as long as a descriptor that is not the tree's",
                           "make it persistent (ip tuntap add), or close it before the dump"});
  }
  return {};
}

struct PreparedNet : Prepared {
  std::vector<OpenSysctl> sysctls;
};

std::unique_ptr<Prepared> prepare() {
  auto prepared = std::make_unique<PreparedNet>();
  Result<std::vector<OpenSysctl>> sysctls = open_sysctls();
  if (!sysctls.ok()) return nullptr;
  prepared->sysctls = sysctls.take();
  return prepared;
}

Result<> dump(const NamespaceProbe& probe, schema::Namespace* record, Blockers& blockers) {
  Refusals refusals;
  std::vector<Neighbourhood> others = TRY(find_others(probe));
  static const std::vector<OpenSysctl> kNone;
  const auto* prepared = static_cast<const PreparedNet*>(probe.prepared);
  TRY(dump_content(others, probe.request.externals, prepared == nullptr ? kNone : prepared->sysctls,
                   record->mutable_net(), &refusals));
  TRY(refuse_tuns_of_others(probe, record->net(), &refusals));
  TRY(translate_ids(probe.tasks.front(), record->mutable_net(), &refusals));
  for (Refusal& refusal : refusals)
    blockers.add(probe.member, std::move(refusal.object), std::move(refusal.reason),
                 std::move(refusal.way_out));
  return {};
}

Result<> bring(const NamespaceBuild& namespace_build, pid_t root) {
  const schema::NetNamespace& net = namespace_build.record.net();
  if (!leads_outside(net)) return {};
  TRY(check_content(net));
  const auto& of_root = namespace_build.image.tasks[0].namespaces();
  if (std::find(of_root.begin(), of_root.end(), namespace_build.record.id()) == of_root.end())
    return Error::unsupported(
        "links that lead outside are brought to the network namespace of the tree's root only");
  Fd target = TRY(sys::open(strf("/proc/%d/ns/net", root).c_str(), O_RDONLY));
  return bring_links(net, namespace_build.request, target);
}

Result<> build(const NamespaceBuild& namespace_build) {
  const schema::Namespace& record = namespace_build.record;
  if (record.empty() || (namespace_build.request.empty_namespaces & CLONE_NEWNET) != 0)
    return build_empty();
  auto other = [&](const schema::NetLink& link) -> const schema::Namespace* {
    for (const schema::Namespace& candidate : namespace_build.image.namespaces)
      if (candidate.has_net() && candidate.inode() == link.lower_namespace()) return &candidate;
    return nullptr;
  };
  FarEnds far;
  far.link = [&](const schema::NetLink& link) -> const schema::NetLink* {
    const schema::Namespace* there = other(link);
    if (there == nullptr) return nullptr;
    for (const schema::NetLink& end : there->net().links())
      if (end.index() == link.lower() && end.kind() == link.kind()) return &end;
    return nullptr;
  };
  far.descriptor = [&](const schema::NetLink& link) {
    const schema::Namespace* there = other(link);
    return there == nullptr || !namespace_build.descriptor
               ? -1
               : namespace_build.descriptor(there->id());
  };
  far.devices = namespace_build.devices;
  return build_content(record.net(), far);
}

bool has_late_part(const schema::Namespace& record) { return has_rules(record.net()); }

Result<> build_late(const NamespaceBuild& namespace_build) {
  return build_rules(namespace_build.record.net());
}

}  // namespace

extern const NamespaceRoom kRoom = {.name = "net",
                                    .kind = schema::Namespace::kNet,
                                    .clone_flag = CLONE_NEWNET,
                                    .beside_tasks = true,
                                    .prepare = prepare,
                                    .dump = dump,
                                    .bring = bring,
                                    .build = build,
                                    .has_late_part = has_late_part,
                                    .build_late = build_late};

}  // namespace ncr::net_namespace
