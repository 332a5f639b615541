// See repair.h. (engine, a process aside, child, coordinator)
#include "engine/resources/tcp_socket/repair.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "engine/base/call_code.h"

namespace ncr::tcp_socket {
namespace {

int set_int(int socket, int level, int name, int value) {
  return sys::code_of(::setsockopt(socket, level, name, &value, sizeof value));
}

}  // namespace

int enter_repair(int socket) { return set_int(socket, IPPROTO_TCP, TCP_REPAIR, 1); }

int leave_repair(int socket, Leave how, int reuse_address) {
  const int failed = set_int(socket, IPPROTO_TCP, TCP_REPAIR, static_cast<int>(how));
  const int reset = set_int(socket, SOL_SOCKET, SO_REUSEADDR, reuse_address);
  return failed != 0 ? failed : reset;
}

int choose_queue(int socket, Queue queue) {
  return set_int(socket, IPPROTO_TCP, TCP_REPAIR_QUEUE, static_cast<int>(queue));
}

int get_sequence(int socket, uint32_t* value) {
  socklen_t size = sizeof *value;
  return sys::code_of(::getsockopt(socket, IPPROTO_TCP, TCP_QUEUE_SEQ, value, &size));
}

int set_sequence(int socket, Queue queue, uint32_t value) {
  const int failed = choose_queue(socket, queue);
  if (failed != 0) return failed;
  return sys::code_of(::setsockopt(socket, IPPROTO_TCP, TCP_QUEUE_SEQ, &value, sizeof value));
}

}  // namespace ncr::tcp_socket
