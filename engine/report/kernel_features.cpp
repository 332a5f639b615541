// Probes: each asks the kernel for the thing itself, on our own process, and undoes what it did.
// Runs in the engine.
#include "engine/report/kernel_features.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/kcmp.h>
#include <linux/sched.h>
#include <linux/userfaultfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "engine/base/sys.h"
#include "engine/memory/pager.h"

namespace ncr {
namespace {

// True unless the kernel does not know the call at all.
bool known(const Result<long>& result) {
  return result.ok() || result.error().os_error() != ENOSYS;
}

bool has_clone3_set_tid() {
  clone_args args{};  // an impossible request: EINVAL from a kernel that knows clone3
  args.exit_signal = ~0ull;
  return known(SYSCALL(::syscall(SYS_clone3, &args, sizeof args), "clone3"));
}

bool has_kcmp() { return sys::kcmp(::getpid(), ::getpid(), KCMP_FILE, 0, 0).ok(); }

bool has_pidfd_getfd() {
  Result<Fd> self = sys::pidfd_open(::getpid());
  if (!self.ok()) return false;
  Result<Fd> copy = sys::pidfd_getfd(self.value(), self.value().get());
  return copy.ok();
}

bool has_pagemap_scan() {
  struct ScanArgument {  // struct pm_scan_arg, include/uapi/linux/fs.h (6.7)
    uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, category_inverted,
        category_mask, category_anyof_mask, return_mask;
  } scan{};
  scan.size = sizeof scan;
  Result<Fd> pagemap = sys::open("/proc/self/pagemap", O_RDONLY);
  if (!pagemap.ok()) return false;
  constexpr unsigned long kPagemapScan = _IOWR('f', 16, ScanArgument);
  return SYSCALL(::syscall(SYS_ioctl, pagemap.value().get(), kPagemapScan, &scan), "PAGEMAP_SCAN")
      .ok();
}

bool has_page_frame_numbers() {
  int on_stack = 1;
  uint64_t entry = 0;
  Result<Fd> pagemap = sys::open("/proc/self/pagemap", O_RDONLY);
  if (!pagemap.ok()) return false;
  uint64_t offset = reinterpret_cast<uint64_t>(&on_stack) /
                    static_cast<uint64_t>(::sysconf(_SC_PAGESIZE)) * sizeof entry;
  return sys::pread_exact(pagemap.value(), &entry, sizeof entry, offset).ok() &&
         (entry & ((1ull << 55) - 1)) != 0;
}

bool has_guard_regions() {
  constexpr int kMadvGuardInstall = 102;  // 6.13
  size_t size = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  void* page = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return false;
  bool present = SYSCALL(::madvise(page, size, kMadvGuardInstall), "MADV_GUARD_INSTALL").ok();
  ::munmap(page, size);
  return present;
}

bool has_set_mm_map() {
  constexpr int kPrSetMmMapSize = 15;
  unsigned size = 0;
  return SYSCALL(::prctl(PR_SET_MM, kPrSetMmMapSize, &size, 0, 0), "PR_SET_MM_MAP_SIZE").ok();
}

bool has_userfaultfd() {
  Result<long> fd = SYSCALL(
      ::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY), "userfaultfd");
  if (fd.ok()) ::close(static_cast<int>(fd.value()));
  return fd.ok();
}

bool has_capability(unsigned capability) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  if (!SYSCALL(::syscall(SYS_capget, &header, data), "capget").ok()) return false;
  return (data[capability / 32].effective >> (capability % 32)) & 1;
}

bool exists(const char* path) { return ::access(path, F_OK) == 0; }

}  // namespace

std::vector<KernelFeature> probe_kernel() {
  return {
      {"clone3 with set_tid (5.5)", has_clone3_set_tid(), Need::kRequired,
       "tasks cannot get their pids back"},
      {"kcmp (3.5, CONFIG_KCMP)", has_kcmp(), Need::kRequired,
       "shared descriptors cannot be told apart"},
      {"pidfd_getfd (5.6)", has_pidfd_getfd(), Need::kRequired, "descriptors cannot be examined"},
      {"prctl PR_SET_MM_MAP (CONFIG_CHECKPOINT_RESTORE)", has_set_mm_map(), Need::kRequired,
       "brk, the command line and /proc/PID/exe cannot be put back"},
      {"CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE",
       has_capability(CAP_SYS_ADMIN) || has_capability(CAP_CHECKPOINT_RESTORE), Need::kRequired,
       "pids and mapped files are out of reach"},
      {"CAP_SYS_PTRACE", has_capability(CAP_SYS_PTRACE), Need::kMore,
       "only one's own tasks can be dumped"},
      {"CAP_SYS_RESOURCE", has_capability(CAP_SYS_RESOURCE), Need::kMore,
       "hard limits above ours and lowered oom_score_adj cannot be restored"},
      {"/proc/PID/timers", exists("/proc/self/timers"), Need::kMore,
       "programs with POSIX timers are refused"},
      {"PAGEMAP_SCAN (6.7)", has_pagemap_scan(), Need::kFaster,
       "pages are found by reading all of /proc/PID/pagemap"},
      {"page frame numbers in pagemap", has_page_frame_numbers(), Need::kFaster,
       "pages that forked tasks share are found by content"},
      {"guard regions (6.13)", has_guard_regions(), Need::kMore,
       "images with guard regions are refused"},
      {"userfaultfd", has_userfaultfd(), Need::kMore, "no lazy restore"},
      {"userfaultfd with events of processes", has_noncooperative_userfaultfd(), Need::kMore,
       "no lazy restore"},
      {"cgroup v2 freezer",
       exists("/sys/fs/cgroup/cgroup.controllers") || exists("/sys/fs/cgroup/unified/cgroup.procs"),
       Need::kMore, "trees are frozen with ptrace alone"},
  };
}

}  // namespace ncr
