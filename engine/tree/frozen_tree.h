// A process tree under our hands: found, frozen, every thread seized and stopped. The destructor
// thaws: detaches every thread, puts cgroups back as found.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/base/log.h"
#include "engine/base/sys.h"
#include "engine/request.h"
#include "engine/tracee/seized_thread.h"
#include "engine/tracee/springboard_place.h"
#include "engine/tree/proc_snapshot.h"
#include "task.pb.h"

namespace ncr {

// One process of the tree.
struct Task {
  pid_t pid = 0;
  pid_t ppid = 0;  // as the kernel says; for the root, of a process outside
  pid_t pgid = 0;
  pid_t sid = 0;
  schema::TaskState state = schema::TASK_RUNNING;
  int stop_signal = 0;
  int exit_status = 0;  // zombies: as wait(2) reports it
  std::string comm;
  Fd pidfd;
  Fd proc;                            // /proc/PID
  std::vector<SeizedThread> threads;  // leader first, all stopped; empty for a zombie
  mutable KnownVdso vdso;             // as its room saw it, for the parasite
  mutable ProcSnapshot snapshot;      // filled by stat() and status(), once everything stands still

  SeizedThread& leader() { return threads.front(); }
  const SeizedThread& leader() const { return threads.front(); }
  Result<const proc::Stat*> stat() const { return snapshot.stat(proc); }
  Result<const ThreadStatus*> status(pid_t tid) const { return snapshot.status(proc, pid, tid); }
  Result<const std::string*> proc_text(const char* file) const {
    return snapshot.text(proc, file);
  }  // of /proc/PID
  Result<const std::string*> proc_link(const char* file) const { return snapshot.link(proc, file); }
  Result<const ProcSnapshot::Descriptors*> descriptors() const {
    return snapshot.descriptors(proc);
  }
  bool alive() const { return state != schema::TASK_ZOMBIE; }
};

class [[nodiscard]] FrozenTree {
 public:
  // kGone: the root does not exist. kSystem: a task could not be stopped within
  // request.freeze_timeout_ms (names it and what it waits in).
  static Result<FrozenTree> freeze(const DumpRequest& request);
  FrozenTree(FrozenTree&&) noexcept;
  ~FrozenTree();

  std::vector<Task>& tasks();  // parents before children; tasks()[0] is the root
  const std::vector<Task>& tasks() const;
  uint64_t frozen_since_ns() const;  // CLOCK_MONOTONIC of the first stop

  // The success path: everything runs, is left stopped (SIGSTOP) or is killed. Returns how long the
  // tree stood still, in ns.
  Result<uint64_t> finish(FinalState state);

 private:
  struct Impl;
  explicit FrozenTree(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace ncr
