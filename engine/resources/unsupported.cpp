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
    {"anon_inode:[userfaultfd]", "userfaultfd", "page faults in flight cannot be taken over",
     "switch off what uses it (a garbage collector, a live migration) before the dump"},
    {"anon_inode:bpf", "bpf object", "programs live in the kernel only", "load it after restore"},
    {"anon_inode:[bpf", "bpf object", "programs and maps live in the kernel only",
     "load it after restore"},
    {"anon_inode:btf", "bpf type information", "it lives in the kernel only",
     "load it after restore"},
    {"anon_inode:[perf_event]", "perf_event", "counters and their ring live in the kernel only",
     "stop profiling first"},
    {"anon_inode:[landlock-ruleset]", "landlock ruleset", "its rules cannot be read back",
     "close it before the dump"},
    {"anon_inode:seccomp notify", "seccomp listener",
     "system calls that wait for an answer cannot be taken over",
     "run the program without the filter that asks"},
    {"anon_inode:[fscontext]", "mount context", "a mount in the making cannot be read back",
     "finish or close it before the dump"},
    {"anon_inode:kvm", "kvm", "virtual machines live in the kernel only",
     "save the machine with its own monitor"},
    {"anon_inode:[vfio", "vfio device", "hardware state is out of reach",
     "give the device back before the dump"},
    {"anon_inode:sync_file", "graphics fence", "hardware state is out of reach",
     "close it before the dump"},
    {"/dmabuf:", "dma-buf", "hardware state is out of reach", "close it before the dump"},
    {"/secretmem", "memfd_secret", "the kernel hides its content even from root",
     "have the program give up its secret memory before the dump"},
    {"anon_inode:[secretmem]", "memfd_secret", "the kernel hides its content even from root",
     "have the program give up its secret memory before the dump"},
};

struct ByFileSystem {
  int64_t magic;
  const char* name;
  const char* reason;
  const char* way_out;
};

constexpr ByFileSystem kByFileSystem[] = {
    {0x6e736673, "namespace file", "it is none that opening /proc/PID/ns gives",
     "close it before the dump"},
    {0x19800202, "POSIX message queue", "it is none that mq_open(3) gives",
     "close it before the dump"},
    {0x5345434d, "memfd_secret", "the kernel hides its content even from root",
     "have the program give up its secret memory before the dump"},
    {0x50494446, "pidfd", "it names a process", "close it before the dump"},
    {0xcafe4a11, "bpf object", "it lives in the kernel only", "close it before the dump"},
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
      return {entry.name, "sockets of this family are not restored", "close it before the dump"};
  if ((domain == AF_INET || domain == AF_INET6) && type == SOCK_RAW)
    return {"raw socket", "its state is not restored", "close it before the dump"};
  return {strf("socket of family %d, type %d", domain, type),
          "sockets of this kind are not restored", "close it before the dump"};
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
    if (entry.magic == file_system) return {entry.name, entry.reason, entry.way_out};
  return {strf("file of an unknown kind (mode 0%o)", probe.stat.st_mode),
          "no part of this version restores it", "close it before the dump"};
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
