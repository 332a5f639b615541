// A descriptor of /dev/net/tun belongs for good to the network namespace that it is opened in
// (kernel: tun_chr_open), so the clerk, a process of the coordinator's, enters that of whoever
// asks; it does nothing else there. Whether a link may be made is asked of who makes it. Several
// may ask at a time: each sends an end of a socket of its own, on which it gets the answer.
#include "engine/resources/tun/device_desk.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "engine/base/procfs.h"

namespace ncr::tun {
namespace {

constexpr size_t kMostFds = 2;

struct Packet {
  int32_t number = 0;  // question: of open(2); answer: an errno, 0 for none
  std::vector<Fd> fds = {};
};

Result<> send(const Fd& socket, int32_t number, const std::vector<int>& fds) {
  iovec data{&number, sizeof number};
  alignas(cmsghdr) char control[CMSG_SPACE(kMostFds * sizeof(int))] = {};
  msghdr header{};
  header.msg_iov = &data;
  header.msg_iovlen = 1;
  if (!fds.empty()) {
    header.msg_control = control;
    header.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    *rights = {CMSG_LEN(fds.size() * sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
    std::memcpy(CMSG_DATA(rights), fds.data(), fds.size() * sizeof(int));
  }
  TRY(SYSCALL(::sendmsg(socket.get(), &header, MSG_NOSIGNAL), "send across a desk"));
  return {};
}

Result<Packet> receive(const Fd& socket) {
  Packet packet;
  iovec data{&packet.number, sizeof packet.number};
  alignas(cmsghdr) char control[CMSG_SPACE(kMostFds * sizeof(int))] = {};
  msghdr header{};
  header.msg_iov = &data;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  const ssize_t size =
      TRY(SYSCALL(::recvmsg(socket.get(), &header, MSG_CMSG_CLOEXEC), "receive across a desk"));
  const cmsghdr* rights = CMSG_FIRSTHDR(&header);
  if (rights != nullptr && rights->cmsg_type == SCM_RIGHTS) {
    std::vector<int> fds((rights->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    std::memcpy(fds.data(), CMSG_DATA(rights), fds.size() * sizeof(int));
    for (int fd : fds) packet.fds.emplace_back(fd);
  }
  if (size != sizeof packet.number) return Error::gone("nobody is at the desk any more");
  return packet;
}

struct Pair {
  Fd ours;
  Fd theirs;
};

Result<Pair> make_pair() {
  int ends[2];
  TRY(SYSCALL(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), "socketpair"));
  return Pair{Fd(ends[0]), Fd(ends[1])};
}

Result<> answer(const Packet& question) {
  const Fd& window = question.fds[0];
  TRY(SYSCALL(::setns(question.fds[1].get(), CLONE_NEWNET), "enter a network namespace"));
  Result<Fd> node = sys::open(kNode, question.number);
  if (!node.ok()) return send(window, node.error().os_error(), {});
  return send(window, 0, {node.value().get()});
}

Result<> serve(const Fd& counter) {
  for (;;) {
    Result<Packet> question = receive(counter);
    if (!question.ok()) return {};  // all that could ask are gone
    // Who is not answered notices that its socket was closed.
    if (question.value().fds.size() == kMostFds) (void)answer(question.value());
  }
}

bool is_needed(const Image& image) {
  const bool below = std::any_of(image.namespaces.begin(), image.namespaces.end(),
                                 [](const schema::Namespace& space) { return space.has_user(); });
  const bool files = std::any_of(image.files.begin(), image.files.end(),
                                 [](const auto& file) { return file.second.has_tun(); });
  const bool links = std::any_of(
      image.namespaces.begin(), image.namespaces.end(), [](const schema::Namespace& space) {
        const auto& all = space.net().links();
        return std::any_of(all.begin(), all.end(),
                           [](const schema::NetLink& link) { return link.has_tun(); });
      });
  return below && (files || links);
}

}  // namespace

Result<DeviceDesk> DeviceDesk::open(const Image& image, int fd_base) {
  DeviceDesk desk;
  if (!is_needed(image)) return desk;
  Pair pair = TRY(make_pair());
  desk.window_ =
      Fd(TRY(SYSCALL(::fcntl(pair.ours.get(), F_DUPFD_CLOEXEC, fd_base), "fcntl F_DUPFD_CLOEXEC")));
  desk.clerk_.emplace(TRY(SideProcess::start(SideProcess::Table::kCopied, [&]() -> Result<> {
    pair.ours.close();
    desk.window_.close();
    return serve(pair.theirs);
  })));
  return desk;
}

Result<Fd> DeviceDesk::ask(int flags) const {
  if (!window_.valid()) return Error::gone("there is no desk");
  Pair pair = TRY(make_pair());
  const Fd net = TRY(procfs::open("self/ns/net", O_RDONLY));
  TRY(send(window_, flags, {pair.theirs.get(), net.get()}));
  pair.theirs.close();
  Packet packet = TRY(receive(pair.ours));
  if (packet.number != 0) return Error::system(packet.number, strf("open %s", kNode));
  if (packet.fds.size() != 1) return Error::gone("the desk gave nothing");
  return std::move(packet.fds.front());
}

Result<Fd> open_node(const char* path, int flags, const DeviceDesk* desk) {
  Result<Fd> node = sys::open(path, flags);
  if (node.ok() || desk == nullptr || node.error().os_error() != EACCES) return node;
  Result<Fd> given = desk->ask(flags);
  return given.ok() ? std::move(given) : std::move(node);
}

}  // namespace ncr::tun
