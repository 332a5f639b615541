#include "frontends/criu/features.h"

#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/inet_diag.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>

#include "frontends/criu/descriptor.h"

namespace criu {
namespace {

bool exists(const char* path) { return ::access(path, F_OK) == 0; }

bool contains(const std::string& path, const char* text) {
  std::ifstream file(path);
  std::stringstream all;
  all << file.rdbuf();
  return all.str().find(text) != std::string::npos;
}

bool fdinfo_contains(int fd, const char* text) {
  return contains("/proc/self/fdinfo/" + std::to_string(fd), text);
}

bool in_path(const std::string& program) {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "/usr/sbin:/usr/bin:/sbin:/bin" : path);
  std::string folder;
  while (std::getline(folders, folder, ':'))
    if (::access((folder + "/" + program).c_str(), X_OK) == 0) return true;
  return false;
}

bool call_is_known(long number) { return ::syscall(number, 0, 0, 0, 0, 0) == 0 || errno != ENOSYS; }

bool has_option(int domain, int level, int option) {
  const Descriptor socket(::socket(domain, SOCK_STREAM | SOCK_CLOEXEC, 0));
  int value = 0;
  socklen_t size = sizeof value;
  return ::getsockopt(socket.get(), level, option, &value, &size) == 0;
}

bool has_userfault_events(uint64_t events) {
  const Descriptor fd(
      static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY)));
  uffdio_api api{UFFD_API, 0, 0};
  return fd.valid() && ::ioctl(fd.get(), UFFDIO_API, &api) == 0 &&
         (api.features & events) == events;
}

bool has_aio() {
  aio_context_t context = 0;
  if (::syscall(SYS_io_setup, 1, &context) != 0) return errno == EAGAIN;
  ::syscall(SYS_io_destroy, context);
  return true;
}

bool has_lock_in_fdinfo() {
  const Descriptor file(::memfd_create("lock", MFD_CLOEXEC));
  return ::flock(file.get(), LOCK_EX) == 0 && fdinfo_contains(file.get(), "lock:");
}

bool has_mount_id_in_fdinfo() {
  const Descriptor file(::open("/", O_PATH | O_CLOEXEC));
  return fdinfo_contains(file.get(), "mnt_id:");
}

bool has_timer_in_fdinfo() {
  const Descriptor timer(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
  return fdinfo_contains(timer.get(), "clockid:");
}

bool has_huge_memfd() {
  const Descriptor file(::memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB));
  return file.valid();
}

// A kernel that knows the flag looks at the descriptors next, and there are none.
bool has_group_of_mounts() {
  constexpr int kMoveMount = 429;
  constexpr unsigned kSetGroup = 0x100;
  return ::syscall(kMoveMount, -1, "", -1, "", kSetGroup | 0x44) != 0 && errno == EBADF;
}

bool has_epoll_kcmp() {
  constexpr int kEpollTarget = 7;
  struct {
    uint32_t efd, tfd, toff;
  } slot{~0u, 0, 0};  // no such epoll: EBADF from who looks for it
  const long compared = ::syscall(SYS_kcmp, ::getpid(), ::getpid(), kEpollTarget, 0, &slot);
  return compared >= 0 || (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP);
}

// Of a socket without a name there is no file to be had; who does not know the question says else.
bool has_file_of_unix_socket() {
  constexpr unsigned long kSiocUnixFile = SIOCPROTOPRIVATE;
  const Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return ::ioctl(socket.get(), kSiocUnixFile) < 0 && errno == ENOENT;
}

bool has_guard_pages_in_pagemap() {
  constexpr uint64_t kIsGuard = 1 << 8;  // include/uapi/linux/fs.h (6.15)
  struct ScanArgument {
    uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages, category_inverted,
        category_mask, category_anyof_mask, return_mask;
  } scan{};
  scan.size = sizeof scan;
  scan.category_mask = kIsGuard;
  const Descriptor pagemap(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  return ::ioctl(pagemap.get(), _IOWR('f', 16, ScanArgument), &scan) >= 0;
}

// What a netlink socket answers to a dump: no error, or the number of one.
template <class Body>
int ask_netlink(int protocol, uint16_t type, const Body& body) {
  struct {
    nlmsghdr header;
    Body body;
  } request{};
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = type;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  request.body = body;
  const Descriptor socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol));
  if (::send(socket.get(), &request, sizeof request, 0) < 0) return errno;
  alignas(nlmsghdr) char answer[8192] = {};
  if (::recv(socket.get(), answer, sizeof answer, 0) < static_cast<ssize_t>(sizeof(nlmsghdr)))
    return EIO;
  nlmsghdr header{};
  std::memcpy(&header, answer, sizeof header);
  if (header.nlmsg_type != NLMSG_ERROR) return 0;
  nlmsgerr error{};
  std::memcpy(&error, answer + NLMSG_HDRLEN, sizeof error.error);
  return -error.error;
}

bool has_raw_diag() {
  inet_diag_req_v2 request{};
  request.sdiag_family = AF_INET;
  request.sdiag_protocol = IPPROTO_RAW;
  request.idiag_states = ~0u;
  return ask_netlink(NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, request) == 0;
}

bool has_nftables() {
  nfgenmsg request{};
  request.nfgen_family = AF_UNSPEC;
  return ask_netlink(NETLINK_NETFILTER, (NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_GETTABLE, request) ==
         0;
}

struct Feature {
  const char* name;
  bool (*present)(Engine& engine);
};

constexpr uint64_t kLazyEvents = UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP |
                                 UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP;

// What every kernel since 5.15 has, if it has the larger thing, is asked as the larger thing.
const Feature kFeatures[] = {
    {"aio_remap", [](Engine&) { return has_aio(); }},
    {"apparmor_stacking",
     [](Engine&) {
       return contains("/sys/kernel/security/apparmor/features/domain/stack", "yes");
     }},
    {"autofs", [](Engine&) { return contains("/proc/filesystems", "autofs"); }},
    {"cgroupns", [](Engine&) { return exists("/proc/self/ns/cgroup"); }},
    {"clone3_set_tid", [](Engine&) { return call_is_known(SYS_clone3); }},
    {"external_net_ns", [](Engine&) { return exists("/proc/self/ns/net"); }},
    {"fdinfo_lock", [](Engine&) { return has_lock_in_fdinfo(); }},
    {"get_rseq_conf", [](Engine&) { return call_is_known(SYS_rseq); }},
    {"has_ipt_legacy", [](Engine&) { return in_path("iptables-legacy-save"); }},
    {"ipv6_freebind", [](Engine&) { return has_option(AF_INET6, IPPROTO_IPV6, 78); }},
    {"kcmp_epoll", [](Engine&) { return has_epoll_kcmp(); }},
    {"link_nsid", [](Engine&) { return exists("/proc/self/ns/net"); }},
    {"loginuid", [](Engine&) { return ::access("/proc/self/loginuid", W_OK) == 0; }},
    {"mem_dirty_track", [](Engine& engine) { return engine.can_predump(); }},
    {"memfd_hugetlb", [](Engine&) { return has_huge_memfd(); }},
    {"mnt_id", [](Engine&) { return has_mount_id_in_fdinfo(); }},
    {"move_mount_set_group", [](Engine&) { return has_group_of_mounts(); }},
    {"net_diag_raw", [](Engine&) { return has_raw_diag(); }},
    {"network_lock_nftables", [](Engine&) { return has_nftables(); }},
    {"newifindex", [](Engine&) { return exists("/proc/self/ns/net"); }},
    {"nftables", [](Engine&) { return has_nftables(); }},
    {"ns_pid", [](Engine&) { return contains("/proc/self/status", "NSpid:"); }},
    {"pagemap_scan_guard_pages", [](Engine&) { return has_guard_pages_in_pagemap(); }},
    {"pidfd_store", [](Engine&) { return false; }},  // not needed, so not had
    {"seccomp_filters", [](Engine&) { return exists("/proc/sys/kernel/seccomp/actions_avail"); }},
    {"seccomp_suspend", [](Engine&) { return exists("/proc/sys/kernel/seccomp/actions_avail"); }},
    {"sk_unix_file", [](Engine&) { return has_file_of_unix_socket(); }},
    {"sockopt_buf_lock", [](Engine&) { return has_option(AF_INET, SOL_SOCKET, 72); }},
    {"tcp_half_closed", [](Engine&) { return has_option(AF_INET, IPPROTO_TCP, TCP_REPAIR); }},
    {"timens", [](Engine&) { return exists("/proc/self/ns/time"); }},
    {"timerfd", [](Engine&) { return has_timer_in_fdinfo(); }},
    {"tun", [](Engine&) { return exists("/dev/net/tun"); }},
    {"tun_ns", [](Engine&) { return exists("/dev/net/tun"); }},
    {"uffd", [](Engine&) { return has_userfault_events(0); }},
    {"uffd-noncoop",
     [](Engine& engine) { return has_userfault_events(kLazyEvents) && engine.can_be_lazy(); }},
    {"userns", [](Engine&) { return exists("/proc/self/ns/user"); }},
};

}  // namespace

bool is_feature(const std::string& name) {
  for (const Feature& feature : kFeatures)
    if (name == feature.name) return true;
  return false;
}

bool has_feature(const std::string& name, Engine& engine) {
  for (const Feature& feature : kFeatures)
    if (name == feature.name) return feature.present(engine);
  return false;
}

std::vector<std::string> feature_names() {
  std::vector<std::string> names;
  for (const Feature& feature : kFeatures) names.emplace_back(feature.name);
  return names;
}

}  // namespace criu
