// engine: the children of a process, found through the parent pid in everybody's /proc/PID/stat,
// because /proc/PID/task/TID/children needs CONFIG_PROC_CHILDREN and lies while tasks come and go.
// A scan is no snapshot: a process that is there from before its start until after its end is seen
// (readdir of /proc goes by ascending pid), others may be or not. A process that was once no
// descendant never becomes one, except by reuse of its pid: orphans go to a subreaper among their
// own ancestors.
#include "engine/tree/process_table.h"

#include <dirent.h>
#include <fcntl.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <memory>
#include <string>
#include <unordered_map>

namespace ncr {
namespace {

pid_t parse_pid(std::string_view text) {
  pid_t pid = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), pid);
  return error == std::errc() && end == text.data() + text.size() ? pid : 0;
}

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

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

Result<std::vector<pid_t>> numbered_entries(const Fd& parent, const char* path) {
  Fd fd = TRY(sys::open_at(parent, path, O_RDONLY | O_DIRECTORY));
  std::unique_ptr<DIR, CloseDirectory> directory(::fdopendir(fd.release()));
  std::vector<pid_t> pids;
  while (const dirent* entry = ::readdir(directory.get()))
    if (pid_t pid = parse_pid(entry->d_name); pid > 0) pids.push_back(pid);
  return pids;
}

// A process that exits meanwhile is as if it had never been.
Result<> ProcessTable::read_process(pid_t pid, Stats* into) {
  if (!proc_.valid()) proc_ = TRY(sys::open("/proc", O_PATH | O_DIRECTORY));
  char path[32];
  std::snprintf(path, sizeof path, "%d/stat", pid);
  const int fd = ::openat(proc_.get(), path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  Fd file(fd);
  char text[2048];  // the kernel writes it in one go, below 1 kB
  Result<ssize_t> size = SYSCALL(::read(fd, text, sizeof text), "read /proc/%s", path);
  if (!size.ok() || size.value() == 0) return {};
  proc::Stat stat = TRY(proc::parse_stat({text, static_cast<size_t>(size.value())}));
  into->insert_or_assign(into->end(), pid, std::move(stat));
  return {};
}

Result<> ProcessTable::scan() {
  std::vector<pid_t> pids = TRY(numbered_entries(Fd(), "/proc"));
  Stats found;
  for (pid_t pid : pids) {
    if (auto known = stats_.find(pid); known != stats_.end())
      found.insert(stats_.extract(known));
    else
      TRY(read_process(pid, &found));
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
  for (pid_t pid = std::max(after - kInFlight, 0) + 1; pid <= last; pid++) {
    if (stats_.contains(pid)) continue;
    TRY(read_process(pid, &stats_));
    auto found = stats_.find(pid);
    if (found == stats_.end()) continue;
    if (!sys::pidfd_open(pid).ok())
      stats_.erase(found);
    else if (found->second.ppid != 0 && !stats_.contains(found->second.ppid))
      return false;
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
