// Cgroup namespace (struct cgroup_namespace): per hierarchy, the cgroup that is shown as "/". It is
// the one that its maker was in (cgroup_namespaces(7)), and nobody can ask which that was: it is
// found by reading where a member is from inside and from outside. At a restore the root task goes
// there (engine/resources/cgroup) before it makes the namespace; there is nothing to fill.
#include <fcntl.h>
#include <sched.h>

#include "engine/resources/cgroup/cgroup.h"
#include "engine/resources/cgroup/proc_cgroup.h"
#include "engine/resources/room.h"

namespace ncr::cgroup_namespace {
namespace {

using cgroup::Membership;

Result<> add_root(const Membership& outside, const Membership& inside,
                  schema::CgroupNamespace* space) {
  std::string root;
  if (!cgroup::is_plain_path(inside.path) || !cgroup::path_above(outside.path, inside.path, &root))
    return Error::unsupported(
        strf("its root is not above %s, where a member is", outside.path.c_str()));
  schema::CgroupNamespaceRoot* record = space->add_roots();
  record->set_controllers(outside.controllers);
  record->set_path(root);
  return {};
}

// This thread is inside; the process's first thread is not.
Result<> dump(const NamespaceProbe& probe, schema::Namespace* record, Blockers& blockers) {
  Fd outside = TRY(sys::open("/proc/self/ns/cgroup", O_RDONLY));
  const std::string outer_text = TRY(cgroup::memberships_seen_from(outside, probe.member.proc));
  const std::string inner_text = TRY(cgroup::memberships_seen_from(probe.fd, probe.member.proc));
  const std::vector<Membership> outer = TRY(cgroup::parse_memberships(outer_text));
  const std::vector<Membership> inner = TRY(cgroup::parse_memberships(inner_text));
  schema::CgroupNamespace* space = record->mutable_cgroup();
  for (const Membership& one : outer)
    for (const Membership& seen : inner) {
      if (seen.controllers != one.controllers) continue;
      Result<> added = add_root(one, seen, space);
      if (!added.ok()) blockers.add(probe.member, "cgroup namespace", added.error().text());
    }
  return {};
}

Result<> build(const NamespaceBuild&) { return {}; }

}  // namespace

extern const NamespaceRoom kRoom = {.name = "cgroup",
                                    .kind = schema::Namespace::kCgroup,
                                    .clone_flag = CLONE_NEWCGROUP,
                                    .dump = dump,
                                    .build = build};

}  // namespace ncr::cgroup_namespace
