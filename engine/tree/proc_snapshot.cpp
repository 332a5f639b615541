// engine: /proc/PID/stat and /proc/PID/task/TID/status of a task that stands still.
#include "engine/tree/proc_snapshot.h"

#include "engine/base/sys.h"

namespace ncr {

Result<const proc::Stat*> ProcSnapshot::stat(const Fd& proc) {
  if (!stat_) {
    std::string text = TRY(sys::read_file_at(proc, "stat"));
    stat_ = TRY(proc::parse_stat(text));
  }
  return &*stat_;
}

Result<const ThreadStatus*> ProcSnapshot::status(const Fd& proc, pid_t tid) {
  auto found = threads_.find(tid);
  if (found != threads_.end()) return &found->second;
  ThreadStatus read;
  read.text = TRY(sys::read_file_at(proc, strf("task/%d/status", tid).c_str()));
  read.status = TRY(proc::parse_status(read.text));
  return &threads_.emplace(tid, std::move(read)).first->second;
}

}  // namespace ncr
