// A number is taken as long as any process, thread, process group or session has it:
// clone3(set_tid) then answers EEXIST (kernel/pid.c).
#include "engine/tree/pids.h"

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <thread>
#include <unordered_set>

#include "engine/base/procfs.h"
#include "engine/base/sys.h"

namespace ncr {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds kPatience{1};

Result<pid_t> pid_limit() {
  std::string text = TRY(procfs::read_file("sys/kernel/pid_max"));
  return static_cast<pid_t>(std::strtol(text.c_str(), nullptr, 10));
}

bool exists(pid_t target) {
  Result<int> sent = SYSCALL(::kill(target, 0), "kill %d", target);
  return sent.ok() || sent.error().os_error() == EPERM;
}

std::string first_line(const std::string& path) {
  Result<std::string> text = procfs::read_file(path);
  return text.ok() ? text.value().substr(0, text.value().find('\n')) : std::string();
}

bool is_alive(pid_t pid) {
  const std::string stat = first_line(strf("/proc/%d/stat", pid));
  const size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos || name_end + 2 >= stat.size()) return false;
  return stat[name_end + 2] != 'Z' && stat[name_end + 2] != 'X';
}

Error in_use(pid_t pid) {
  return Error::system(EEXIST, strf("process number %d of the image is in use here, by %s: end it, "
                                    "or restore in a new pid namespace",
                                    pid, holder_of(pid).c_str()));
}

// Of a tree that was killed a moment ago, the last dead may yet have to be collected.
Result<> check_free(pid_t pid, pid_t limit) {
  if (pid >= limit)
    return Error::unsupported(
        strf("the image has process number %d, this machine allows none above %d (kernel.pid_max)",
             pid, limit - 1));
  for (auto end = Clock::now() + kPatience; exists(pid) || exists(-pid);) {
    if (is_alive(pid) || Clock::now() > end) return in_use(pid);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return {};
}

}  // namespace

Result<> check_pids_free(const RestorePlan& plan) {
  pid_t limit = TRY(pid_limit());
  for (const TaskPlan& task : plan.tasks) {
    if (task.pid != 0) TRY(check_free(task.pid, limit));
    if (!task.live()) continue;
    for (const schema::Thread& thread : task.record->threads())
      if (thread.tid() != task.pid) TRY(check_free(thread.tid(), limit));
  }
  return {};
}

std::string holder_of(pid_t pid) {
  std::string comm = first_line(strf("%d/comm", pid));
  if (comm.empty()) return "a process group or session";
  Result<std::string> status = procfs::read_file(strf("%d/status", pid));
  size_t at = status.ok() ? status.value().find("\nTgid:\t") : std::string::npos;
  pid_t process =
      at == std::string::npos
          ? pid
          : static_cast<pid_t>(std::strtol(status.value().c_str() + at + 7, nullptr, 10));
  if (process == pid) return strf("process %d (%s)", pid, comm.c_str());
  return strf("thread %d of process %d (%s)", pid, process, comm.c_str());
}

Result<pid_t> spare_pid(const RestorePlan& plan, int attempt) {
  std::unordered_set<pid_t> taken;
  for (const TaskPlan& task : plan.tasks) {
    taken.insert(task.pid);
    if (task.record == nullptr) continue;
    for (const schema::Thread& thread : task.record->threads()) taken.insert(thread.tid());
  }
  pid_t pid = TRY(pid_limit());
  while (pid-- > 2)
    if (!taken.contains(pid) && !plan.spaces.is_taken(pid) && attempt-- == 0) return pid;
  return Error::system(EAGAIN, "no process number is left for a helper process");
}

}  // namespace ncr
