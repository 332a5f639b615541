// Text of /proc/PID/stat and /proc/PID/status -> struct. Pure: no file is opened here.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"

namespace ncr::proc {

// proc(5) numbers the fields of /proc/PID/stat from 1: pid is 1, comm 2.
struct Stat {
  pid_t pid = 0;
  std::string comm;  // up to 15 bytes, may hold anything but NUL
  char state = '?';  // R S D T t Z X I
  pid_t ppid = 0;
  pid_t pgid = 0;
  pid_t sid = 0;
  int tty = 0;  // device number of the controlling terminal, 0 none
  pid_t tty_pgid = 0;
  uint64_t flags = 0;  // PF_*
  int threads = 0;
  uint64_t start_time = 0;  // clock ticks since boot
  uint64_t start_code = 0;
  uint64_t end_code = 0;
  uint64_t start_stack = 0;
  uint64_t start_data = 0;
  uint64_t end_data = 0;
  uint64_t start_brk = 0;
  uint64_t arg_start = 0;
  uint64_t arg_end = 0;
  uint64_t env_start = 0;
  uint64_t env_end = 0;
  int exit_code = 0;  // as wait(2) reports it

  bool dead() const { return state == 'Z' || state == 'X' || state == 'x'; }
};

struct Status {
  std::string name;  // escaped by the kernel: \n is two characters
  char state = '?';
  uint32_t umask = 0;
  pid_t tgid = 0;
  pid_t pid = 0;
  pid_t ppid = 0;
  pid_t tracer_pid = 0;
  std::array<uint32_t, 4> uids{};  // real, effective, saved, fs
  std::array<uint32_t, 4> gids{};
  std::vector<uint32_t> groups;
  std::vector<pid_t> ns_pids;  // outermost namespace (of the reader's proc) first; empty before 4.1
  std::vector<pid_t> ns_pgids;
  std::vector<pid_t> ns_sids;
  int threads = 0;
  uint64_t pending = 0;  // signals of this thread
  uint64_t shared_pending = 0;
  uint64_t blocked = 0;
  uint64_t ignored = 0;
  uint64_t caught = 0;
  uint64_t cap_inheritable = 0;
  uint64_t cap_permitted = 0;
  uint64_t cap_effective = 0;
  uint64_t cap_bounding = 0;
  uint64_t cap_ambient = 0;
  bool no_new_privs = false;
  int seccomp = 0;  // SECCOMP_MODE_*
  int seccomp_filters = 0;
};

Result<Stat> parse_stat(std::string_view text);
Result<Status> parse_status(
    std::string_view text);  // unknown lines are skipped, missing ones leave the default

// One field "Name:\tvalue" of a status-like file (status, fdinfo, smaps); empty if it is not there.
std::string_view field(std::string_view text, std::string_view name);

}  // namespace ncr::proc
