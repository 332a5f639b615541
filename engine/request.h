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

// A moment at which a caller may act on the tree (a runtime sets up its network, a script freezes a
// database). What the moments are called is criu's interface: "pre-dump", "post-dump",
// "network-lock", "network-unlock", "setup-namespaces", "post-setup-namespaces", "pre-restore",
// "post-restore", "pre-resume", "post-resume", "orphan-pts-master", "status-ready".
struct Hook {
  const char* name = "";
  pid_t pid = 0;  // of the root, as the caller's pid namespace numbers it; 0 if there is none yet
  int fd = -1;    // "orphan-pts-master": the terminal's other end
};

// How the caller follows and stops the work. Every member may be empty.
struct Callbacks {
  std::function<void(const Progress&)> progress;
  std::function<bool()> cancelled;  // asked often; true ends the request with kCancelled
  // An error fails the request. A restore that is no sibling calls it in a fork of the caller.
  std::function<Result<>(const Hook&)> hook;
  Log log;
};

enum class TcpPolicy { kRefuse, kKeep, kClose };  // for established connections
enum class NetworkLockMethod { kNftables, kSkip };
enum class CgroupMode {
  kIgnore,
  kNone,
  kProps,
  kSoft,
  kFull,
  kStrict
};  // criu(8), --manage-cgroups

// A thing outside the tree that it holds. At a dump: its name in the tree, and the key that the
// image remembers instead of its content. At a restore: the key, and what takes its place.
struct External {
  std::string kind;    // "mnt", "net", "pid", "tty", "unix", "file", "dev", "veth", "macvlan" ...
  std::string object;  // dump: "/dev", "4026531840", "8800:1"; restore: the key
  std::string value;   // dump: the key; restore: a path, a link's name
};

struct DumpRequest {
  pid_t pid = 0;
  std::string images_dir;
  FinalState final_state = FinalState::kKill;
  ShellJob shell_job = ShellJob::kRefuse;
  std::string freeze_cgroup;  // absolute path of a cgroup directory, v1 freezer or v2
  std::string root;           // of the tree's mount namespace, as the caller sees it; may be empty
  std::vector<External> externals;
  bool external_mounts_auto = false;  // mounts whose source is outside the tree are external
  uint64_t empty_namespaces = 0;      // CLONE_NEW*: made again, but without what is in them
  TcpPolicy tcp = TcpPolicy::kRefuse;
  bool tcp_skip_in_flight = false;  // connections not accepted yet are dropped, not refused
  NetworkLockMethod network_lock = NetworkLockMethod::kNftables;
  bool external_unix_sockets = false;
  bool orphan_pts_master = false;  // a terminal whose other end is outside: a restore will make it
  CgroupMode cgroups = CgroupMode::kSoft;
  std::string
      parent_images;  // images directory relative to images_dir; pages as there are not stored
  bool track_memory = false;  // for the next incremental dump
  int page_server = -1;       // a connected socket: pages go there (engine/page_server.h)
  bool lazy_pages = false;    // pages are served from here when the restored tree asks for them
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
  uint64_t pages_parent = 0;  // the parent image has them
  uint64_t pages_lazy = 0;    // not written but served
  // Of these, pages of shared memory objects:
  uint64_t shpages_scanned = 0;
  uint64_t shpages_written = 0;
  uint64_t shpages_parent = 0;
  uint64_t memory_ns = 0;  // waiting for pages to be read
  uint64_t write_ns = 0;   // and to be written
  std::vector<Phase> phases;
};

enum class AfterRestore { kRun, kStop };

struct InheritedFd {  // a descriptor of ours that takes the place of one in the image
  std::string key;    // "pipe:[1234]", "tty[8800:1]" , "/path"
  int fd = -1;
};

struct JoinedNamespace {
  std::string kind;  // "net", "ipc" ..., as in /proc/PID/ns
  std::string path;  // of an nsfs file
};

struct CgroupRoot {
  std::string controllers;  // comma separated, "" for v2
  std::string path;         // where the tree's root cgroup is to be
};

struct RestoreRequest {
  std::string images_dir;
  AfterRestore after = AfterRestore::kRun;
  ShellJob shell_job = ShellJob::kRefuse;
  bool root_is_sibling = false;  // the root becomes a child of our parent, not of us
  std::vector<InheritedFd> inherited;
  std::string root;  // becomes the root of the tree's mount namespace: a mount point
  std::vector<External> externals;
  std::vector<JoinedNamespace> joined;  // in place of those of the image
  uint64_t empty_namespaces = 0;
  TcpPolicy tcp = TcpPolicy::kRefuse;
  CgroupMode cgroups = CgroupMode::kSoft;
  std::vector<CgroupRoot> cgroup_roots;
  bool orphan_pts_master =
      false;                // a terminal whose other end was outside is made, and handed over
  std::string lsm_profile;  // "apparmor:NAME" or "selinux:LABEL", "" as in the image
  std::string lsm_mount_context;
  bool lazy_pages = false;
  std::string lazy_pages_socket;  // where the daemon listens
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
// The memory of the tree, which runs on meanwhile: an image that can be the parent of another.
Result<DumpReport> predump(const DumpRequest& request);
Result<std::vector<Blocker>> find_blockers(const DumpRequest& request);  // freezes, looks, thaws

}  // namespace ncr
