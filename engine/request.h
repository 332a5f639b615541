// What a caller asks for, and what it gets. Options are values in a request; an impossible pair
// cannot be written.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/base/log.h"
#include "engine/base/phase_clock.h"
#include "engine/base/result.h"

namespace ncr {

enum class FinalState { kKill, kRun, kStop };  // of the tree after a dump
enum class ShellJob {
  kRefuse,
  kInheritTerminal
};  // a tree whose session leader or terminal lies outside

struct Progress {
  const char* phase = "";  // "freeze", "memory", "write" ...
  uint64_t done = 0;       // bytes, or objects
  uint64_t total = 0;      // 0: unknown
};

// How the caller follows and stops the work. Every member may be empty.
struct Callbacks {
  std::function<void(const Progress&)> progress;
  std::function<bool()> cancelled;  // asked often; true ends the request with kCancelled
  Log log;
};

struct DumpRequest {
  pid_t pid = 0;
  std::string images_dir;
  FinalState final_state = FinalState::kKill;
  ShellJob shell_job = ShellJob::kRefuse;
  std::string freeze_cgroup;  // absolute path of a cgroup directory, v1 freezer or v2
  uint32_t freeze_timeout_ms = 10'000;
  unsigned threads = 0;    // page copying; 0: as many as CPUs, 4 at most
  std::string trace_file;  // Chrome trace of the phases
  Callbacks callbacks;
};

struct DumpReport {
  uint32_t tasks = 0;
  uint32_t threads = 0;
  uint64_t frozen_ns = 0;
  uint64_t total_ns = 0;
  uint64_t image_bytes = 0;
  uint64_t pages_scanned = 0;
  uint64_t pages_written = 0;
  uint64_t pages_zero = 0;
  uint64_t pages_shared = 0;
  std::vector<Phase> phases;
};

enum class AfterRestore { kRun, kStop };

struct InheritedFd {  // a descriptor of ours that takes the place of one in the image
  std::string key;    // "pipe:[1234]", "tty[8800:1]" , "/path"
  int fd = -1;
};

struct RestoreRequest {
  std::string images_dir;
  AfterRestore after = AfterRestore::kRun;
  ShellJob shell_job = ShellJob::kRefuse;
  bool root_is_sibling = false;  // the root becomes a child of our parent, not of us
  std::vector<InheritedFd> inherited;
  unsigned threads = 0;
  std::string trace_file;
  Callbacks callbacks;
};

struct RestoreReport {
  pid_t root_pid = 0;
  uint32_t tasks = 0;
  uint32_t threads = 0;
  uint64_t total_ns = 0;
  uint64_t pages_restored = 0;
  std::vector<Phase> phases;
};

struct Blocker {  // one thing of a tree that cannot be dumped
  pid_t pid = 0;
  std::string comm;
  std::string object;  // "fd 7: io_uring"
  std::string reason;
  std::string way_out;  // option or action that helps, empty if none
};

Result<DumpReport> dump(const DumpRequest& request);
Result<RestoreReport> restore(const RestoreRequest& request);
Result<std::vector<Blocker>> find_blockers(const DumpRequest& request);  // freezes, looks, thaws

}  // namespace ncr
