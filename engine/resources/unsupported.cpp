// Files that no room takes are refused by the name a user knows them by. What they are is told by
// the link of /proc/PID/fd/N ("anon_inode:[io_uring]"), by the file system they live on (namespace
// files, message queues) or, for sockets, by their domain. Runs in the engine.
#include "engine/resources/unsupported.h"

#include <sys/socket.h>
#include <sys/statfs.h>

#include <array>
#include <iterator>

namespace ncr {
namespace {

struct ByLink {
  const char* prefix;
  const char* name;
  const char* reason;
  const char* way_out;
};

constexpr ByLink kByLink[] = {
    {"anon_inode:[io_uring]", "io_uring",
     "requests in flight and registered buffers live in the kernel only",
     "run the program with io_uring switched off (UV_USE_IO_URING=0, --disable-io-uring ...)"},
    {"anon_inode:[userfaultfd]", "userfaultfd", "page faults in flight cannot be taken over", ""},
    {"anon_inode:[fanotify]", "fanotify", "permission events in flight cannot be taken over", ""},
    {"anon_inode:bpf", "bpf object", "programs and maps live in the kernel only",
     "load it after restore"},
    {"anon_inode:[bpf", "bpf object", "programs and maps live in the kernel only",
     "load it after restore"},
    {"anon_inode:btf", "bpf type information", "it lives in the kernel only",
     "load it after restore"},
    {"anon_inode:[perf_event]", "perf_event", "counters and their ring live in the kernel only",
     "stop profiling first"},
    {"anon_inode:[landlock-ruleset]", "landlock ruleset", "its rules cannot be read back", ""},
    {"anon_inode:seccomp notify", "seccomp listener",
     "system calls that wait for an answer cannot be taken over", ""},
    {"anon_inode:[fscontext]", "mount context", "a mount in the making cannot be read back", ""},
    {"anon_inode:kvm", "kvm", "virtual machines live in the kernel only",
     "save the machine with its own monitor"},
    {"anon_inode:[vfio", "vfio device", "hardware state is out of reach", ""},
    {"anon_inode:sync_file", "graphics fence", "hardware state is out of reach", ""},
    {"/dmabuf:", "dma-buf", "hardware state is out of reach", ""},
    {"/secretmem", "memfd_secret", "the kernel hides its content even from root", ""},
    {"anon_inode:[secretmem]", "memfd_secret", "the kernel hides its content even from root", ""},
};

struct ByFileSystem {
  int64_t magic;
  const char* name;
  const char* reason;
};

constexpr ByFileSystem kByFileSystem[] = {
    {0x6e736673, "namespace file", "it is none that opening /proc/PID/ns gives"},
    {0x19800202, "POSIX message queue", "message queues come next"},
    {0x5345434d, "memfd_secret", "the kernel hides its content even from root"},
    {0x50494446, "pidfd", "it names a process"},
    {0xcafe4a11, "bpf object", "programs and maps live in the kernel only"},
};

struct ByDomain {
  int domain;
  const char* name;
};

constexpr ByDomain kByDomain[] = {
    {AF_VSOCK, "vsock socket"},
    {AF_ALG, "kernel crypto socket"},
    {AF_BLUETOOTH, "bluetooth socket"},
    {AF_CAN, "CAN socket"},
    {AF_XDP, "XDP socket"},
    {AF_TIPC, "TIPC socket"},
    {AF_SMC, "SMC socket"},
    {AF_KEY, "IPsec key socket"},
    {AF_RDS, "RDS socket"},
    {AF_KCM, "KCM socket"},
};

UnsupportedKind name_socket(int domain, int type) {
  for (const ByDomain& entry : kByDomain)
    if (entry.domain == domain)
      return {entry.name, "sockets of this family come next", "close it before the dump"};
  if ((domain == AF_INET || domain == AF_INET6) && type == SOCK_RAW)
    return {"raw socket", "raw sockets come next", "close it before the dump"};
  return {strf("socket of family %d, type %d", domain, type), "sockets of this kind come next",
          "close it before the dump"};
}

}  // namespace

bool is_kernel_object(int64_t file_system) {
  for (const ByFileSystem& entry : kByFileSystem)
    if (entry.magic == file_system) return true;
  return false;
}

Result<int64_t> file_system_of(const Fd& fd) {
  struct statfs system {};
  TRY(SYSCALL(::fstatfs(fd.get(), &system), "fstatfs"));
  return static_cast<int64_t>(system.f_type);
}

UnsupportedKind name_unsupported(const FdProbe& probe, int64_t file_system, int socket_domain,
                                 int socket_type) {
  if (S_ISSOCK(probe.stat.st_mode)) return name_socket(socket_domain, socket_type);
  for (const ByLink& entry : kByLink)
    if (probe.link.starts_with(entry.prefix)) return {entry.name, entry.reason, entry.way_out};
  for (const ByFileSystem& entry : kByFileSystem)
    if (entry.magic == file_system) return {entry.name, entry.reason, ""};
  return {strf("file of an unknown kind (mode 0%o)", probe.stat.st_mode),
          "no part of this version restores it", ""};
}

UnsupportedKind unsupported_kind(const FdProbe& probe) {
  int domain = -1;
  int type = -1;
  socklen_t size = sizeof domain;
  if (S_ISSOCK(probe.stat.st_mode)) {
    (void)SYSCALL(::getsockopt(probe.local.get(), SOL_SOCKET, SO_DOMAIN, &domain, &size),
                  "SO_DOMAIN")
        .ok();
    (void)SYSCALL(::getsockopt(probe.local.get(), SOL_SOCKET, SO_TYPE, &type, &size), "SO_TYPE")
        .ok();
  }
  Result<int64_t> file_system = file_system_of(probe.local);
  return name_unsupported(probe, file_system.ok() ? file_system.value() : 0, domain, type);
}

}  // namespace ncr
