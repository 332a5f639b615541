// Who is connected to whom (engine). The kernel tells the peer of a unix socket only by
// NETLINK_SOCK_DIAG (unix_diag, net/unix/diag.c): a question by inode, so that the cost does not
// grow with the sockets of the machine. It answers for sockets of the network namespace that the
// question is asked in: ours first, which nearly all trees are in, else that of the socket itself.
#include "engine/resources/unix_socket/unix_diag.h"

#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <sys/socket.h>

#include <cstring>

#include "engine/base/netlink.h"

namespace ncr::unix_socket {
namespace {

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

Result<Diag> parse_diag(std::string_view answer) {
  unix_diag_msg message{};
  if (answer.size() < sizeof message) return Error(ErrorCode::kSystem, "sock_diag: a short answer");
  memcpy(&message, answer.data(), sizeof message);
  Diag diag;
  diag.state = message.udiag_state;
  netlink::Attributes walk(answer.substr(sizeof message));
  netlink::Attribute attribute;
  while (walk.next(&attribute))
    read_attribute(attribute.type, attribute.value.data(), attribute.value.size(), &diag);
  return diag;
}

Result<Diag> query_diag(const Fd& socket, uint64_t inode) {
  unix_diag_req question{};
  question.sdiag_family = AF_UNIX;
  question.udiag_states = ~0u;
  question.udiag_ino = static_cast<uint32_t>(inode);
  question.udiag_show = UDIAG_SHOW_PEER | UDIAG_SHOW_ICONS | UDIAG_SHOW_RQLEN;
  question.udiag_cookie[0] = ~0u;
  question.udiag_cookie[1] = ~0u;
  auto ask = [&](Result<netlink::Socket> opened) -> Result<netlink::Reply> {
    netlink::Socket diag = TRY(std::move(opened));
    netlink::Request request(SOCK_DIAG_BY_FAMILY, 0);
    request.header(question);
    return diag.get(request, "sock_diag");
  };
  Result<netlink::Reply> reply = ask(netlink::Socket::open(NETLINK_SOCK_DIAG));
  if (!reply.ok() && reply.error().os_error() == ENOENT)
    reply = ask(netlink::Socket::open_beside(socket, NETLINK_SOCK_DIAG));
  if (!reply.ok())
    return reply.take_error().while_doing(
        strf("unix socket %llu", static_cast<unsigned long long>(inode)));
  return parse_diag(reply.value().body);
}

}  // namespace ncr::unix_socket
