// Namespaces of a task (struct nsproxy, and its pid and user namespace). Trees are restored in the
// namespaces of whoever restores them, so a task that lives in others, or has set others up for its
// children, is a blocker by name. /proc/PID/ns/* are links that read "net:[4026531840]" (engine).
// Threads may differ from their leader in what setns(2) changes per thread.
#include "engine/resources/namespaces/namespaces.h"

#include <fcntl.h>

#include <set>

#include "engine/resources/room.h"

namespace ncr::namespaces {
namespace {

constexpr const char* kOfProcess[] = {
    "cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "time", "time_for_children",
    "user",   "uts"};
constexpr const char* kOfThread[] = {"mnt", "net"};  // what programs do change in single threads

// Empty: this kernel has no such namespace.
std::string read_namespace(const Fd& directory, const std::string& path) {
  Result<std::string> link = sys::read_link_at(directory, path.c_str());
  return link.ok() ? link.value() : std::string();
}

template <size_t N>
void compare(const Fd& own, const Fd& theirs, const std::string& folder,
             const char* const (&names)[N], std::set<std::string>* differing) {
  for (const char* name : names)
    if (differs(read_namespace(own, strf("ns/%s", name)), read_namespace(theirs, folder + name)))
      differing->insert(name);
}

Result<> preflight(const Task& task, Blockers& blockers) {
  Fd own = TRY(sys::open("/proc/self", O_PATH | O_DIRECTORY));
  std::set<std::string> differing;
  compare(own, task.proc, "ns/", kOfProcess, &differing);
  for (size_t i = 1; i < task.threads.size(); i++)
    compare(own, task.proc, strf("task/%d/ns/", task.threads[i].tid()), kOfThread, &differing);
  for (const std::string& name : differing)
    blockers.add(task, strf("%s namespace", name.c_str()),
                 "it is not the engine's own; containers come next",
                 strf("run the engine inside it (nsenter --target %d --all)", task.pid));
  return {};
}

}  // namespace

// A link that could not be read belongs to a namespace that nobody is in yet (pid_for_children
// after unshare) or that the kernel does not have.
bool differs(const std::string& own, const std::string& theirs) {
  return !own.empty() && own != theirs;
}

extern const TaskRoom kRoom = {.name = "namespaces", .preflight = preflight};

}  // namespace ncr::namespaces
