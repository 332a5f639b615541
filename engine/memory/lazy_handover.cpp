// A userfaultfd belongs to the address space of whoever makes it (fs/userfaultfd.c), so every task
// makes its own and sends it away; nothing of it stays in the task. What is to be registered is
// registered by the daemon, through the descriptor, when the memory has been moved to its place.
#include "engine/memory/lazy_handover.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace ncr {
namespace lazy_wire {
namespace {

struct Place {
  Fd dir;
  std::string name;
  sockaddr_un address{};
};

// Through /proc/self/fd, since an address has 108 bytes.
Result<Place> place_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  Place place;
  place.name = slash == std::string::npos ? path : path.substr(slash + 1);
  const std::string dir =
      slash == std::string::npos ? "." : path.substr(0, std::max<size_t>(slash, 1));
  if (place.name.empty() || place.name.size() > 80)
    return Error::usage(strf("%s is no name for a socket", path.c_str()));
  place.dir = TRY(sys::open(dir.c_str(), O_PATH | O_DIRECTORY));
  place.address.sun_family = AF_UNIX;
  const std::string short_path = strf("/proc/self/fd/%d/%s", place.dir.get(), place.name.c_str());
  std::memcpy(place.address.sun_path, short_path.c_str(), short_path.size());
  return place;
}

Result<Fd> packet_socket() {
  return Fd(TRY(SYSCALL(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), "socket")));
}

}  // namespace

Result<> send(int socket, const Message& given, int fd) {
  Message message = given;
  message.version = kVersion;
  iovec data{&message, sizeof message};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr header{};
  header.msg_iov = &data;
  header.msg_iovlen = 1;
  if (fd >= 0) {
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    *rights = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
    std::memcpy(CMSG_DATA(rights), &fd, sizeof fd);
  }
  TRY(SYSCALL(::sendmsg(socket, &header, MSG_NOSIGNAL), "send to the other end of lazy pages"));
  return {};
}

Result<Received> receive(int socket) {
  Received received;
  iovec data{&received.message, sizeof received.message};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(ucred))] = {};
  msghdr header{};
  header.msg_iov = &data;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  Result<ssize_t> got = SYSCALL(::recvmsg(socket, &header, MSG_CMSG_CLOEXEC),
                                "receive from the other end of lazy pages");
  for (cmsghdr* item = CMSG_FIRSTHDR(&header); got.ok() && item != nullptr;
       item = CMSG_NXTHDR(&header, item)) {
    if (item->cmsg_level != SOL_SOCKET) continue;
    int fd = -1;
    ucred sender{};
    if (item->cmsg_type == SCM_RIGHTS && item->cmsg_len == CMSG_LEN(sizeof fd)) {
      std::memcpy(&fd, CMSG_DATA(item), sizeof fd);
      received.fd = Fd(fd);
    } else if (item->cmsg_type == SCM_CREDENTIALS) {
      std::memcpy(&sender, CMSG_DATA(item), sizeof sender);
      received.sender = sender.pid;
    }
  }
  const ssize_t size = TRY(std::move(got));
  if (size == 0) return Error::gone("the other end of lazy pages has hung up");
  Message& message = received.message;
  if (size != sizeof message || message.version != kVersion || message.size > sizeof message.text)
    return Error::malformed("the other end of lazy pages speaks another protocol");
  return received;
}

Result<Fd> connect_to(const std::string& path) {
  Place place = TRY(place_of(path));
  Fd socket = TRY(packet_socket());
  TRY(SYSCALL(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&place.address),
                        sizeof place.address),
              "connect to %s (is nativecr lazy-pages running?)", path.c_str()));
  return socket;
}

Result<Fd> listen_at(const std::string& path) {
  Place place = TRY(place_of(path));
  Fd socket = TRY(packet_socket());
  // One that nobody listens at is left over.
  if (!connect_to(path).ok()) {
    struct stat old {};
    if (::fstatat(place.dir.get(), place.name.c_str(), &old, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISSOCK(old.st_mode))
      (void)::unlinkat(place.dir.get(), place.name.c_str(), 0);
  }
  TRY(SYSCALL(
      ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&place.address), sizeof place.address),
      "listen at %s", path.c_str()));
  TRY(SYSCALL(::fchmodat(place.dir.get(), place.name.c_str(), 0600, 0), "chmod %s", path.c_str()));
  TRY(SYSCALL(::listen(socket.get(), 8), "listen at %s", path.c_str()));
  const int on = 1;
  TRY(SYSCALL(::setsockopt(socket.get(), SOL_SOCKET, SO_PASSCRED, &on, sizeof on), "SO_PASSCRED"));
  return socket;
}

}  // namespace lazy_wire

namespace {

using lazy_wire::Kind;
using lazy_wire::Message;

Result<> ask(int socket, const Message& message) {
  TRY(lazy_wire::send(socket, message));
  const lazy_wire::Received answer = TRY(lazy_wire::receive(socket));
  if (answer.message.kind == Kind::kOk) return {};
  return Error(ErrorCode::kSystem, std::string(answer.message.text, answer.message.size));
}

Result<Fd> make_userfaultfd() {
  Result<long> made = SYSCALL(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK), "userfaultfd");
  if (made.ok()) return Fd(static_cast<int>(made.value()));
  // A task in a user namespace of its own may have the device instead (6.1).
  Result<Fd> device = sys::open("/dev/userfaultfd", O_RDWR);
  if (!device.ok()) return made.take_error();
  return Fd(TRY(SYSCALL(::ioctl(device.value().get(), USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK),
                        "userfaultfd")));
}

}  // namespace

Result<Fd> greet_lazy_pages(const std::string& socket_path, const std::string& uuid) {
  Fd socket = TRY(lazy_wire::connect_to(socket_path));
  Message hello{Kind::kHello, 0, 0, static_cast<uint32_t>(uuid.size()), {}};
  std::memcpy(hello.text, uuid.data(), std::min(uuid.size(), sizeof hello.text));
  TRY_WHILE(ask(socket.get(), hello), "lazy pages");
  return socket;
}

Result<> start_lazy_pages(int socket, size_t tasks) {
  TRY_WHILE(ask(socket, {Kind::kStart, 0, static_cast<int32_t>(tasks), 0, {}}), "lazy pages");
  return {};
}

Result<> hand_over_memory(int socket, int32_t pid) {
  Fd uffd = TRY(make_userfaultfd());
  return lazy_wire::send(socket, {Kind::kTask, 0, pid, 0, {}}, uffd.get());
}

}  // namespace ncr
