// A descriptor of /dev/net/tun (struct tun_file, drivers/net/tun.c): attached to no link yet, or a
// queue of one, through which a program sends and gets what passes that link. The link is made,
// with its addresses, by the network namespace that has it, and made to last; the descriptor is
// attached to it again, and if the link lived only as long as its descriptors, it does so from then
// on. Packets that wait in a queue are lost. Userspace cannot see BPF programs (TUNSETSTEERINGEBPF,
// TUNSETFILTEREBPF) and the address filter of a tap (TUNSETTXFILTER); a socket filter is seen but
// not told. recognises, preflight and dump run in the engine, open in the child.
#include "engine/resources/tun/tun.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <charconv>
#include <cstring>
#include <memory>

#include "engine/resources/file_restorer.h"
#include "engine/resources/status_flags.h"
#include "engine/resources/tun/device_desk.h"
#include "engine/resources/tun/tun_link.h"

#ifndef SIOCGSKNS
#define SIOCGSKNS 0x894C
#endif

namespace ncr::tun {
namespace {

bool is_node(const struct stat& file) {
  return S_ISCHR(file.st_mode) && file.st_rdev == makedev(10, 200);
}
constexpr unsigned kOfBirth = IFF_TUN | IFF_TAP | IFF_NAPI | IFF_NAPI_FRAGS | IFF_NO_PI |
                              IFF_ONE_QUEUE | IFF_VNET_HDR | IFF_MULTI_QUEUE;

struct Attachment {
  std::string link;  // empty: to none
  unsigned flags = 0;
};

Result<Attachment> attachment_of(const Fd& tun) {
  ifreq told{};
  Result<int> asked = SYSCALL(::ioctl(tun.get(), TUNGETIFF, &told), "ioctl TUNGETIFF");
  if (!asked.ok() && asked.error().os_error() == EBADFD) return Attachment();
  TRY(std::move(asked));
  return Attachment{std::string(told.ifr_name, ::strnlen(told.ifr_name, IFNAMSIZ)),
                    static_cast<uint16_t>(told.ifr_flags)};
}

Result<bool> is_in_our_namespace(const Fd& tun) {
  Fd its = TRY(net_namespace_of(tun));
  struct stat theirs {
  }, ours{};
  TRY(SYSCALL(::fstat(its.get(), &theirs), "fstat of a network namespace"));
  TRY(SYSCALL(::stat("/proc/thread-self/ns/net", &ours), "stat our network namespace"));
  return theirs.st_ino == ours.st_ino;
}

Result<bool> is_of_its_own_kind(const Fd& tun, unsigned flags) {
  ifreq told{};
  TRY(SYSCALL(::ioctl(tun.get(), SIOCGIFHWADDR, &told), "ioctl SIOCGIFHWADDR"));
  return told.ifr_hwaddr.sa_family == ((flags & IFF_TAP) != 0 ? ARPHRD_ETHER : ARPHRD_NONE);
}

// Of a tap. The program it tells of is at an address of whoever attached it; one that was detached
// since is not told apart.
bool has_filter(const Fd& tun) {
  sock_fprog program{};
  return ::ioctl(tun.get(), TUNGETFILTER, &program) == 0 && program.len != 0;
}

Result<> preflight(const FdProbe& probe, Blockers& blockers) {
  const Attachment attached = TRY(attachment_of(probe.local));
  if (attached.link.empty()) return {};
  auto block = [&](const char* reason, const char* way_out) {
    blockers.add(*probe.task, strf("fd %d: tun link %s", raw(probe.number), attached.link.c_str()),
                 reason, way_out);
  };
  if (has_filter(probe.local))
    block("it has a filter, which cannot be read back", "detach it before the dump");
  if (!TRY(is_of_its_own_kind(probe.local, attached.flags)))
    block("its type was changed (TUNSETLINK)", "");
  if ((attached.flags & IFF_PERSIST) == 0 && TRY(is_in_our_namespace(probe.local)))
    block(
        "it goes away with its descriptors, and its network namespace is not the tree's",
        "make it persistent (TUNSETPERSIST, ip tuntap add), or give the tree a network namespace");
  return {};
}

Result<int> ask(const Fd& tun, unsigned long what, const char* text) {
  int value = 0;
  TRY(SYSCALL(::ioctl(tun.get(), what, &value), "ioctl %s", text));
  return value;
}

Result<> dump(FileTable&, const FdProbe& probe, schema::OpenFile* record) {
  schema::Tun* out = record->mutable_tun();
  out->set_path(probe.link);
  const Attachment attached = TRY(attachment_of(probe.local));
  if (attached.link.empty()) return {};
  out->set_link(attached.link);
  out->set_header_size(TRY(ask(probe.local, TUNGETVNETHDRSZ, "TUNGETVNETHDRSZ")));
  out->set_send_buffer(TRY(ask(probe.local, TUNGETSNDBUF, "TUNGETSNDBUF")));
  out->set_little_endian(TRY(ask(probe.local, TUNGETVNETLE, "TUNGETVNETLE")));
  Fd net_namespace = TRY(net_namespace_of(probe.local));
  const LinkSettings link = TRY(read_link(net_namespace, attached.link));
  out->set_flags(link.packet_info ? attached.flags & ~unsigned{IFF_NO_PI}
                                  : attached.flags | unsigned{IFF_NO_PI});
  out->set_offloads(link.offloads);
  return {};
}

Result<Fd> open_checked(const FileRestorer& files, const schema::OpenFile& record) {
  const std::string& path = record.tun().path();
  Fd fd = TRY(open_node(path.c_str(), open_flags(record.flags()), files.devices()));
  struct stat now {};
  TRY(SYSCALL(::fstat(fd.get(), &now), "fstat %s", path.c_str()));
  if (!is_node(now))
    return Error::unsupported(strf(
        "%s is not the device of tun links (10:200); create the node with mknod", path.c_str()));
  return fd;
}

ifreq request_of(const schema::Tun& tun, unsigned flags) {
  ifreq request{};
  memcpy(request.ifr_name, tun.link().data(), tun.link().size());
  request.ifr_flags = static_cast<short>(flags);
  return request;
}

Result<> attach(const Fd& fd, const schema::Tun& tun) {
  if (tun.link().size() >= IFNAMSIZ || tun.link().find('\0') != std::string::npos)
    return Error::malformed("the name of a tun link");
  // Attaching would make one, without addresses.
  if (::if_nametoindex(tun.link().c_str()) == 0)
    return Error::unsupported(
        strf("there is no link %s any more; make it again (ip tuntap add)", tun.link().c_str()));
  ifreq request = request_of(tun, tun.flags() & kOfBirth);
  TRY(SYSCALL(::ioctl(fd.get(), TUNSETIFF, &request), "attach to link %s", tun.link().c_str()));
  return {};
}

Result<> set(const Fd& fd, unsigned long what, int value, const char* text) {
  TRY(SYSCALL(::ioctl(fd.get(), what, &value), "ioctl %s", text));
  return {};
}

Result<> set_up(const Fd& fd, const schema::Tun& tun) {
  TRY(set(fd, TUNSETVNETHDRSZ, tun.header_size(), "TUNSETVNETHDRSZ"));
  TRY(set(fd, TUNSETSNDBUF, tun.send_buffer(), "TUNSETSNDBUF"));
  TRY(set(fd, TUNSETVNETLE, tun.little_endian(), "TUNSETVNETLE"));
  TRY(SYSCALL(::ioctl(fd.get(), TUNSETOFFLOAD, static_cast<unsigned long>(tun.offloads())),
              "ioctl TUNSETOFFLOAD"));
  if ((tun.flags() & IFF_PERSIST) == 0)
    TRY(SYSCALL(::ioctl(fd.get(), TUNSETPERSIST, 0UL), "ioctl TUNSETPERSIST"));
  if ((tun.flags() & IFF_DETACH_QUEUE) != 0) {
    ifreq request = request_of(tun, IFF_DETACH_QUEUE);
    TRY(SYSCALL(::ioctl(fd.get(), TUNSETQUEUE, &request), "ioctl TUNSETQUEUE"));
  }
  return {};
}

Result<Fd> open(FileRestorer& files, const schema::OpenFile& record) {
  const schema::Tun& tun = record.tun();
  Fd fd = TRY(open_checked(files, record));
  if (!tun.link().empty()) {
    TRY(attach(fd, tun));
    TRY_WHILE(set_up(fd, tun), "link %s", tun.link().c_str());
  }
  TRY(set_status_flags(fd, record.flags()));
  return fd;
}

// The link that descriptor `name` of the task keeps alive; empty: none of this namespace.
Result<std::string> link_held_by(const Task& task, const char* name, const Fd& nsfs) {
  int number = 0;
  const char* end = name + strlen(name);
  if (std::from_chars(name, end, number).ptr != end) return std::string();
  struct stat status {};
  const std::string path = strf("fd/%s", name);
  if (::fstatat(task.proc.get(), path.c_str(), &status, 0) != 0 || !is_node(status))
    return std::string();
  const std::string link =
      link_in_fdinfo(TRY(sys::read_file_at(task.proc, strf("fdinfo/%s", name).c_str())));
  if (link.empty()) return link;
  Fd tun = TRY(sys::pidfd_getfd(task.pidfd, number));
  Fd its = TRY(net_namespace_of(tun));
  struct stat here {
  }, there{};
  TRY(SYSCALL(::fstat(nsfs.get(), &here), "fstat of a network namespace"));
  TRY(SYSCALL(::fstat(its.get(), &there), "fstat of a network namespace"));
  return here.st_ino == there.st_ino ? link : std::string();
}

}  // namespace

bool recognises(const FdProbe& probe) { return is_node(probe.stat) && (probe.flags & O_PATH) == 0; }

std::string link_in_fdinfo(std::string_view fdinfo) {
  constexpr std::string_view kField = "iff:\t";  // tun_chr_show_fdinfo
  size_t at = fdinfo.find(kField);
  if (at == std::string_view::npos || (at != 0 && fdinfo[at - 1] != '\n')) return {};
  fdinfo.remove_prefix(at + kField.size());
  return std::string(fdinfo.substr(0, fdinfo.find('\n')));
}

Result<Fd> net_namespace_of(const Fd& tun) {
  // TUNGETDEVNETNS is of 5.9; the link of an attached one may have been moved elsewhere.
  Result<int> of_link = SYSCALL(::ioctl(tun.get(), TUNGETDEVNETNS), "ioctl TUNGETDEVNETNS");
  if (of_link.ok()) return Fd(of_link.value());
  return Fd(TRY(SYSCALL(::ioctl(tun.get(), SIOCGSKNS), "ioctl SIOCGSKNS")));
}

Result<std::set<std::string>> links_held_by(const std::vector<Task>& tasks, const Fd& nsfs) {
  std::set<std::string> links;
  for (const Task& task : tasks) {
    if (!task.alive()) continue;
    Fd fd = TRY(sys::open_at(task.proc, "fd", O_RDONLY | O_DIRECTORY));
    std::unique_ptr<DIR, int (*)(DIR*)> listing(::fdopendir(fd.get()), ::closedir);
    if (listing == nullptr) return Error::system(ENOMEM, "fdopendir");
    (void)fd.release();
    while (const dirent* entry = ::readdir(listing.get())) {
      std::string link = TRY(link_held_by(task, entry->d_name, nsfs));
      if (!link.empty()) links.insert(std::move(link));
    }
  }
  return links;
}

extern const FdRoom kRoom = {.name = "tun",
                             .kind = schema::OpenFile::kTun,
                             .recognises = recognises,
                             .preflight = preflight,
                             .dump = dump,
                             .open = open};

}  // namespace ncr::tun
