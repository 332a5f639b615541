// Cgroups (struct cgroup; a task's are in its css_set). There is one tree of them per hierarchy, in
// each of which a thread is in exactly one; a process's threads may differ in v1 and below a
// threaded cgroup of v2. /proc/PID/cgroup shows them below the root of the reader's cgroup
// namespace, as long as the process is no zombie. What belongs to a tree: the cgroups its tasks are
// in, and whatever is at or below the cgroup of its root task (of that task's cgroup namespace, if
// it has one: there, a container's own manager lives), unless others live there. Runs in the
// engine.
//
// Userspace cannot see BPF programs attached to a cgroup (device filters of v2) as more than an id:
// they are whoever's makes the cgroup. The freezer's state is not restored: a restored tree runs.
#include "engine/resources/cgroup/cgroup.h"

#include <sched.h>

#include <set>

#include "engine/base/quiet_thread.h"
#include "engine/resources/cgroup/proc_cgroup.h"
#include "engine/resources/cgroup/properties.h"
#include "engine/resources/room.h"

namespace ncr::cgroup {

// What else it says, it says of the whole tree.
extern const TaskRoom kRoom = {
    .name = "cgroup", .read_ahead = [](const Task& task) { (void)task.proc_text("cgroup"); }};

Result<std::string> memberships_seen_from(const Fd& cgroup_namespace, const Fd& proc) {
  Result<std::string> text = Error::gone("no thread");
  {
    QuietThread visitor([&] {
      Result<int> entered =
          SYSCALL(::setns(cgroup_namespace.get(), CLONE_NEWCGROUP), "enter a cgroup namespace");
      text = entered.ok() ? sys::read_file_at(proc, "cgroup") : entered.take_error();
    });
  }
  return text;
}

Result<> check_image(const Image& image) {
  std::set<uint32_t> ids;
  for (const schema::CgroupHierarchy& hierarchy : image.cgroups) {
    if (!is_plain_path(hierarchy.root_path())) return Error::malformed("a cgroup's path is none");
    for (const schema::Cgroup& cgroup : hierarchy.cgroups()) {
      const bool root = cgroup.path().empty() && !cgroup.outside();
      if (!root && !is_plain_path(cgroup.path()))
        return Error::malformed("a cgroup's path is none");
      if (!ids.insert(cgroup.id()).second)
        return Error::malformed(strf("two cgroups have id %u", cgroup.id()));
      const Version version = hierarchy.controllers().empty() ? Version::kV2 : Version::kV1;
      for (const schema::CgroupProperty& property : cgroup.properties())
        (void)TRY(writes_of(version, property));
      for (const schema::CgroupOwner& file : cgroup.files())
        if (file.name().find('/') != std::string::npos || !is_plain_path("/" + file.name()))
          return Error::malformed("a file of a cgroup has an impossible name");
    }
  }
  for (const schema::Task& task : image.tasks) {
    for (uint32_t id : task.cgroups())
      if (!ids.contains(id))
        return Error::malformed(strf("task %d is in cgroup %u, which is missing", task.pid(), id));
    for (const schema::Thread& thread : task.threads())
      for (uint32_t id : thread.cgroups())
        if (!ids.contains(id))
          return Error::malformed(
              strf("thread %d is in cgroup %u, which is missing", thread.tid(), id));
  }
  return {};
}

}  // namespace ncr::cgroup
