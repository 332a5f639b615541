// engine: the children of a process, found through the parent pid in everybody's /proc/PID/stat,
// because /proc/PID/task/TID/children needs CONFIG_PROC_CHILDREN and lies while tasks come and go.
// A scan is no snapshot: a process that is there from before its start until after its end is seen
// (readdir of /proc goes by ascending pid), others may be or not. A process that was once no
// descendant never becomes one, except by reuse of its pid: orphans go to a subreaper among their
// own ancestors.
#include "engine/tree/process_table.h"

#include <dirent.h>
#include <fcntl.h>

#include <charconv>
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

// The last field of "0.20 0.18 0.12 1/80 11206", and the number after the slash.
template <class T>
bool parse_tail(std::string_view text, T* value) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size();
}

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

}  // namespace

Result<BirthMark> parse_loadavg(std::string_view text) {
  while (!text.empty() && text.back() == '\n') text.remove_suffix(1);
  const size_t slash = text.find('/');
  const size_t blank = text.rfind(' ');
  BirthMark mark;
  if (slash == std::string_view::npos || blank == std::string_view::npos || blank < slash ||
      !parse_tail(text.substr(slash + 1, blank - slash - 1), &mark.threads) ||
      !parse_tail(text.substr(blank + 1), &mark.last_pid))
    return Error::malformed("/proc/loadavg: not \"a b c running/threads last_pid\"");
  return mark;
}

Result<BirthMark> read_birth_mark() {
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

Result<> ProcessTable::scan() {
  std::vector<pid_t> pids = TRY(numbered_entries(Fd(), "/proc"));
  Stats found;
  for (pid_t pid : pids) {
    if (auto known = stats_.find(pid); known != stats_.end()) {
      found.insert(stats_.extract(known));
      continue;
    }
    Result<std::string> text = sys::read_file(strf("/proc/%d/stat", pid).c_str());
    if (!text.ok()) continue;  // it exited meanwhile
    found.emplace(pid, TRY(proc::parse_stat(text.value())));
  }
  stats_ = std::move(found);
  return {};
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

bool has_unknown_parent(const ProcessTable::Stats& stats) {
  for (const auto& [pid, stat] : stats)
    if (stat.ppid != 0 && !stats.contains(stat.ppid)) return true;
  return false;
}

}  // namespace ncr
