// Every process of the machine that /proc shows, and what is below one of them.
#pragma once

#include <map>
#include <string_view>
#include <vector>

#include "engine/base/proc.h"
#include "engine/base/result.h"
#include "engine/base/sys.h"

namespace ncr {

// Has any process or thread come into being between two looks? Equal marks: none has.
struct BirthMark {
  uint64_t threads = 0;  // of the whole machine
  pid_t last_pid =
      0;  // given out in our pid namespace; a fork inside a nested one takes one here too
  bool operator==(const BirthMark&) const = default;
};
Result<BirthMark> parse_loadavg(std::string_view text);
Result<BirthMark> read_birth_mark();

// The entries of a directory like /proc or /proc/PID/task that are numbers, in the kernel's order:
// ascending there.
Result<std::vector<pid_t>> numbered_entries(const Fd& parent, const char* path);

class ProcessTable {
 public:
  using Stats = std::map<pid_t, proc::Stat>;

  // Reads the processes that were not there at the last scan, and forgets those that are gone.
  Result<> scan();
  void update(const proc::Stat& stat) { stats_[stat.pid] = stat; }
  void erase(pid_t pid) { stats_.erase(pid); }
  const Stats& stats() const { return stats_; }

 private:
  Stats stats_;
};

// The root and all its descendants, parents before children, siblings by pid. Empty if there is no
// such root.
std::vector<const proc::Stat*> tree_below(const ProcessTable::Stats& stats, pid_t root);

// A process whose parent is not in the table: the parent exited during the scan, who inherited its
// children is not known.
bool has_unknown_parent(const ProcessTable::Stats& stats);

}  // namespace ncr
