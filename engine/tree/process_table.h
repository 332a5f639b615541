// Every process of the machine that /proc shows, and what is below one of them.
#pragma once

#include <map>
#include <optional>
#include <string_view>
#include <vector>

#include "engine/base/proc.h"
#include "engine/base/result.h"
#include "engine/base/sys.h"

namespace ncr {

// The pid given out last in our pid namespace; a fork inside a nested one takes one here too.
Result<pid_t> parse_loadavg(std::string_view text);
Result<pid_t> read_last_pid();

class ProcessTable {
 public:
  using Stats = std::map<pid_t, proc::Stat>;

  // `threads` share the reading of many processes.
  explicit ProcessTable(unsigned threads = 1) : threads_(threads) {}

  // Reads the processes that were not there at the last scan, and forgets those that are gone.
  Result<> scan();
  // The same by looking only at the pids that were given out in between. False if that cannot be
  // done (too many, or the numbers began anew): then it takes a scan().
  Result<bool> scan_pids(pid_t after, pid_t last);
  void update(const proc::Stat& stat) { stats_[stat.pid] = stat; }
  void erase(pid_t pid) { stats_.erase(pid); }
  // Drops processes whose parent is not in the table (it exited during the scan, who inherited them
  // is not known), to be read anew. True if there were any.
  bool erase_orphans();
  const Stats& stats() const { return stats_; }

 private:
  Result<> open_proc();
  Result<std::optional<proc::Stat>> read_process(pid_t pid) const;

  unsigned threads_;
  Stats stats_;
  Fd proc_;
};

// The root and all its descendants, parents before children, siblings by pid. Empty if there is no
// such root.
std::vector<const proc::Stat*> tree_below(const ProcessTable::Stats& stats, pid_t root);

}  // namespace ncr
