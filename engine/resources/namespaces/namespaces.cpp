// Namespaces of a task (struct nsproxy, and its pid and user namespace). Trees are restored in the
// namespaces of whoever restores them, so a task that lives in others, or has set others up for its
// children, is a blocker by name. /proc/PID/ns/* are links that read "net:[4026531840]" (engine).
// Threads may differ from their leader in what setns(2) changes per thread.
#include "engine/resources/namespaces/namespaces.h"

#include <fcntl.h>

#include <map>
#include <set>

#include "engine/base/sys.h"
#include "engine/resources/room.h"

namespace ncr::namespaces {
namespace {

constexpr const char* kOfProcess[] = {
    "cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "time", "time_for_children",
    "user",   "uts"};
constexpr const char* kOfThread[] = {"mnt", "net"};  // what programs do change in single threads

template <size_t N>
Links read_links(const Fd& directory, const std::string& folder, const char* const (&names)[N]) {
  Links links;
  for (const char* name : names) {
    Result<std::string> link = sys::read_link_at(directory, (folder + name).c_str());
    if (link.ok()) links.emplace(name, link.take());
  }
  return links;
}

template <size_t N>
void compare(const Links& own, const Fd& directory, const std::string& folder,
             const char* const (&names)[N], std::set<std::string>* differing) {
  const Links theirs = read_links(directory, folder, names);
  for (const char* name : names) {
    auto ours = own.find(name);
    auto found = theirs.find(name);
    if (differs(ours == own.end() ? "" : ours->second, found == theirs.end() ? "" : found->second))
      differing->insert(name);
  }
}

}  // namespace

// A link that could not be read belongs to a namespace that nobody is in yet (pid_for_children
// after unshare) or that the kernel does not have.
bool differs(const std::string& own, const std::string& theirs) {
  return !own.empty() && own != theirs;
}

extern const TaskRoom kRoom = {.name = "namespaces"};  // what it says, it says of the whole tree

Result<Links> own_links() {
  return read_links(TRY(sys::open("/proc/self", O_PATH | O_DIRECTORY)), "ns/", kOfProcess);
}

Result<> preflight_tree(const std::vector<Task>& tasks, const Links& own, Blockers& blockers) {
  for (const Task& task : tasks) {
    if (!task.alive()) continue;
    std::set<std::string> differing;
    compare(own, task.proc, "ns/", kOfProcess, &differing);
    for (size_t i = 1; i < task.threads.size(); i++)
      compare(own, task.proc, strf("task/%d/ns/", task.threads[i].tid()), kOfThread, &differing);
    for (const std::string& name : differing)
      blockers.add(task, strf("%s namespace", name.c_str()),
                   "it is not the engine's own; containers come next",
                   strf("run the engine inside it (nsenter --target %d --all)", task.pid));
  }
  return {};
}

}  // namespace ncr::namespaces
