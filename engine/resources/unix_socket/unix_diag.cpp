// Who is connected to whom (engine). The kernel tells the peer of a unix socket only by
// NETLINK_SOCK_DIAG (unix_diag, net/unix/diag.c): a question by inode, so that the cost does not
// grow with the sockets of the machine. It answers for sockets of our own network namespace.
#include "engine/resources/unix_socket/unix_diag.h"

#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <sys/socket.h>

#include <cstring>

namespace ncr::unix_socket {
namespace {

struct Question {
  nlmsghdr header;
  unix_diag_req request;
};

void read_attribute(uint16_t type, const char* data, size_t size, Diag* diag) {
  auto u32_at = [&](size_t offset) {
    uint32_t value = 0;
    if (offset + sizeof value <= size) memcpy(&value, data + offset, sizeof value);
    return value;
  };
  switch (type) {
    case UNIX_DIAG_PEER:
      diag->has_peer = true;
      diag->peer_inode = u32_at(0);
      break;
    case UNIX_DIAG_ICONS:
      for (size_t offset = 0; offset + 4 <= size; offset += 4)
        diag->pending.push_back(u32_at(offset));
      break;
    case UNIX_DIAG_RQLEN:
      diag->receive_queue = u32_at(0);
      diag->send_queue = u32_at(4);
      break;
    case UNIX_DIAG_SHUTDOWN:
      if (size > 0) diag->shutdown = static_cast<uint8_t>(data[0]);
      break;
    default:
      break;
  }
}

}  // namespace

Result<Diag> parse_diag(const std::string& datagram) {
  nlmsghdr header{};
  if (datagram.size() < sizeof header) return Error(ErrorCode::kSystem, "sock_diag: short answer");
  memcpy(&header, datagram.data(), sizeof header);
  if (header.nlmsg_type == NLMSG_ERROR) {
    nlmsgerr error{};
    if (datagram.size() < sizeof header + sizeof error)
      return Error(ErrorCode::kSystem, "sock_diag: short answer");
    memcpy(&error, datagram.data() + sizeof header, sizeof error);
    return Error::system(-error.error, "sock_diag");
  }
  unix_diag_msg message{};
  size_t at = sizeof header + sizeof message;
  if (datagram.size() < at) return Error(ErrorCode::kSystem, "sock_diag: short answer");
  memcpy(&message, datagram.data() + sizeof header, sizeof message);
  Diag diag;
  diag.state = message.udiag_state;
  while (at + sizeof(nlattr) <= datagram.size()) {
    nlattr attribute{};
    memcpy(&attribute, datagram.data() + at, sizeof attribute);
    if (attribute.nla_len < sizeof attribute || at + attribute.nla_len > datagram.size()) break;
    read_attribute(attribute.nla_type, datagram.data() + at + sizeof attribute,
                   attribute.nla_len - sizeof attribute, &diag);
    at += NLA_ALIGN(attribute.nla_len);
  }
  return diag;
}

Result<Diag> query_diag(uint64_t inode) {
  Fd netlink(TRY(SYSCALL(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG),
                         "socket NETLINK_SOCK_DIAG")));
  Question question{};
  question.header.nlmsg_len = sizeof question;
  question.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  question.header.nlmsg_flags = NLM_F_REQUEST;
  question.request.sdiag_family = AF_UNIX;
  question.request.udiag_states = ~0u;
  question.request.udiag_ino = static_cast<uint32_t>(inode);
  question.request.udiag_show = UDIAG_SHOW_PEER | UDIAG_SHOW_ICONS | UDIAG_SHOW_RQLEN;
  question.request.udiag_cookie[0] = ~0u;
  question.request.udiag_cookie[1] = ~0u;
  TRY(SYSCALL(::send(netlink.get(), &question, sizeof question, 0), "ask sock_diag"));
  char answer[32 * 1024];  // a listener names up to 4,096 clients
  ssize_t size =
      TRY(SYSCALL(::recv(netlink.get(), answer, sizeof answer, 0), "read from sock_diag"));
  return TRY_WHILE(parse_diag({answer, static_cast<size_t>(size)}), "unix socket %llu",
                   static_cast<unsigned long long>(inode));
}

}  // namespace ncr::unix_socket
