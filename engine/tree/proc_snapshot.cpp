// engine: /proc/PID/stat and /proc/PID/task/TID/status of a task that stands still.
#include "engine/tree/proc_snapshot.h"

#include <fcntl.h>
#include <unistd.h>

#include "engine/base/sys.h"

namespace ncr {
namespace {

// A file that fits into the buffer needs no second read to see its end: the kernel writes these in
// one go.
Result<std::string> read_once(const Fd& proc, const char* path) {
  char buffer[4096];
  Fd file = TRY(sys::open_at(proc, path, O_RDONLY));
  ssize_t got = TRY(SYSCALL(::read(file.get(), buffer, sizeof buffer), "read %s", path));
  if (static_cast<size_t>(got) == sizeof buffer) return sys::read_file_at(proc, path);
  return std::string(buffer, static_cast<size_t>(got));
}

}  // namespace

Result<const proc::Stat*> ProcSnapshot::stat(const Fd& proc) {
  if (!stat_) {
    std::string text = TRY(read_once(proc, "stat"));
    stat_ = TRY(proc::parse_stat(text));
  }
  return &*stat_;
}

Result<const ThreadStatus*> ProcSnapshot::status(const Fd& proc, pid_t pid, pid_t tid) {
  auto found = threads_.find(tid);
  if (found != threads_.end()) return &found->second;
  ThreadStatus read;
  // The process's own file is the leader's, and cheaper to reach.
  read.text = TRY(tid == pid ? read_once(proc, "status")
                             : read_once(proc, strf("task/%d/status", tid).c_str()));
  read.status = TRY(proc::parse_status(read.text));
  return &threads_.emplace(tid, std::move(read)).first->second;
}

Result<const std::string*> ProcSnapshot::text(const Fd& proc, const char* file) {
  auto found = texts_.find(file);
  if (found != texts_.end()) return &found->second;
  std::string text = TRY(read_once(proc, file));
  return &texts_.emplace(file, std::move(text)).first->second;
}

Result<const std::string*> ProcSnapshot::link(const Fd& proc, const char* file) {
  auto found = links_.find(file);
  if (found != links_.end()) return &found->second;
  std::string target = TRY(sys::read_link_at(proc, file));
  return &links_.emplace(file, std::move(target)).first->second;
}

Result<const ProcSnapshot::Descriptors*> ProcSnapshot::descriptors(const Fd& proc) {
  if (descriptors_) return &*descriptors_;
  Descriptors all;
  Fd directory = TRY(sys::open_at(proc, "fdinfo", O_PATH | O_DIRECTORY));
  for (int number : TRY(sys::numbered_entries(directory, ".")))
    all.emplace_back(number,
                     TRY_WHILE(read_once(directory, std::to_string(number).c_str()), "fdinfo"));
  descriptors_ = std::move(all);
  return &*descriptors_;
}

}  // namespace ncr
