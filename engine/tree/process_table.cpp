// engine: the children of a process, found through the parent pid in everybody's /proc/PID/stat,
// because /proc/PID/task/TID/children needs CONFIG_PROC_CHILDREN and lies while tasks come and go.
// A scan is no snapshot: a process that is there from before its start until after its end is seen
// (readdir of /proc goes by ascending pid), others may be or not. A process that was once no
// descendant never becomes one, except by reuse of its pid: orphans go to a subreaper among their
// own ancestors.
#include "engine/tree/process_table.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <string>
#include <unordered_map>

#include "engine/base/parallel.h"

namespace ncr {
namespace {

pid_t parse_pid(std::string_view text) {
  pid_t pid = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), pid);
  return error == std::errc() && end == text.data() + text.size() ? pid : 0;
}

bool is_thread_of_ours(pid_t tid) { return ::tgkill(::getpid(), tid, 0) == 0; }

}  // namespace

// The last field of "0.20 0.18 0.12 1/80 11206".
Result<pid_t> parse_loadavg(std::string_view text) {
  while (!text.empty() && text.back() == '\n') text.remove_suffix(1);
  const size_t blank = text.rfind(' ');
  const pid_t pid = blank == std::string_view::npos ? 0 : parse_pid(text.substr(blank + 1));
  if (pid <= 0) return Error::malformed("/proc/loadavg: does not end with a pid");
  return pid;
}

Result<pid_t> read_last_pid() {
  std::string text = TRY(sys::read_file("/proc/loadavg"));
  return parse_loadavg(text);
}

// A process that exits meanwhile is as if it had never been.
Result<std::optional<proc::Stat>> ProcessTable::read_process(pid_t pid) const {
  char path[32];
  std::snprintf(path, sizeof path, "%d/stat", pid);
  const int fd = ::openat(proc_.get(), path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::optional<proc::Stat>();
  Fd file(fd);
  char text[2048];  // the kernel writes it in one go, below 1 kB
  Result<ssize_t> size = SYSCALL(::read(fd, text, sizeof text), "read /proc/%s", path);
  if (!size.ok() || size.value() == 0) return std::optional<proc::Stat>();
  return std::optional(TRY(proc::parse_stat({text, static_cast<size_t>(size.value())})));
}

Result<> ProcessTable::open_proc() {
  if (!proc_.valid()) proc_ = TRY(sys::open("/proc", O_PATH | O_DIRECTORY));
  return {};
}

Result<> ProcessTable::scan() {
  TRY(open_proc());
  std::vector<pid_t> pids = TRY(sys::numbered_entries(Fd(), "/proc"));
  std::vector<std::optional<proc::Stat>> read(pids.size());
  auto read_one = [&](size_t i) -> Result<> {
    if (!stats_.contains(pids[i])) read[i] = TRY(read_process(pids[i]));
    return {};
  };
  TRY(in_parallel(pids.size(), threads_, read_one));
  Stats found;
  for (size_t i = 0; i < pids.size(); i++) {
    if (auto known = stats_.find(pids[i]); known != stats_.end())
      found.insert(found.end(), stats_.extract(known));
    else if (read[i])
      found.emplace_hint(found.end(), pids[i], std::move(*read[i]));
  }
  stats_ = std::move(found);
  return {};
}

// /proc/N opens for threads too, though it does not list them; only for leaders there is a pidfd. A
// few pids from before are looked at as well: a fork takes its pid some microseconds before the
// child can be seen.
Result<bool> ProcessTable::scan_pids(pid_t after, pid_t last) {
  constexpr pid_t kMany = 64;
  constexpr pid_t kInFlight = 8;
  if (last < after || last - after > kMany) return false;
  TRY(open_proc());
  for (pid_t pid = std::max(after - kInFlight, 0) + 1; pid <= last; pid++) {
    if (stats_.contains(pid) || is_thread_of_ours(pid)) continue;
    std::optional<proc::Stat> found = TRY(read_process(pid));
    if (!found || !sys::pidfd_open(pid).ok()) continue;
    const pid_t parent = found->ppid;
    stats_.emplace(pid, std::move(*found));
    if (parent != 0 && !stats_.contains(parent)) return false;
  }
  return true;
}

bool ProcessTable::erase_orphans() {
  std::vector<pid_t> orphans;
  for (const auto& [pid, stat] : stats_)
    if (stat.ppid != 0 && !stats_.contains(stat.ppid)) orphans.push_back(pid);
  for (pid_t pid : orphans) stats_.erase(pid);
  return !orphans.empty();
}

std::vector<const proc::Stat*> tree_below(const ProcessTable::Stats& stats, pid_t root) {
  std::unordered_map<pid_t, std::vector<const proc::Stat*>> children;
  for (const auto& [pid, stat] : stats)
    if (pid != root) children[stat.ppid].push_back(&stat);
  std::vector<const proc::Stat*> tree;
  if (auto found = stats.find(root); found != stats.end()) tree.push_back(&found->second);
  for (size_t i = 0; i < tree.size(); i++) {
    auto below = children.find(tree[i]->pid);
    if (below != children.end())
      tree.insert(tree.end(), below->second.begin(), below->second.end());
  }
  return tree;
}

}  // namespace ncr
