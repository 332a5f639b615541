// What /proc says of a stopped task, read once and shared: each of these files costs the kernel
// more than all the rooms' own questions.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/fd.h"
#include "engine/base/proc.h"
#include "engine/base/result.h"

namespace ncr {

struct ThreadStatus {
  std::string text;  // for fields that proc::Status has not, by proc::field()
  proc::Status status;
};

class ProcSnapshot {
 public:
  using Descriptors = std::vector<std::pair<int, std::string>>;

  // `proc` is the directory /proc/PID. Read at the first call: the task must be stopped by then.
  Result<const proc::Stat*> stat(const Fd& proc);
  Result<const ThreadStatus*> status(const Fd& proc, pid_t pid, pid_t tid);
  Result<const std::string*> text(const Fd& proc, const char* file);
  Result<const std::string*> link(const Fd& proc, const char* file);
  // The files of /proc/PID/fdinfo, ascending by descriptor.
  Result<const Descriptors*> descriptors(const Fd& proc);

 private:
  std::optional<proc::Stat> stat_;
  std::map<pid_t, ThreadStatus> threads_;
  std::map<std::string, std::string> texts_;
  std::map<std::string, std::string> links_;
  std::optional<Descriptors> descriptors_;
};

}  // namespace ncr
