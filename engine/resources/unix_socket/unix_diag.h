// What sock_diag(7) tells of one unix socket.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "engine/base/sys.h"

namespace ncr::unix_socket {

struct Diag {
  uint8_t state = 0;        // TCP_ESTABLISHED, TCP_LISTEN, TCP_CLOSE
  bool has_peer = false;    // connected at some time; the peer may be closed since
  uint64_t peer_inode = 0;  // 0: closed, or waiting to be accepted
  std::vector<uint64_t>
      pending;  // listener: inodes of the clients that wait, oldest first; 0: closed since
  uint32_t receive_queue = 0;  // bytes; listener: connections that wait
  uint32_t send_queue = 0;     // bytes; listener: the backlog
  uint8_t shutdown = 0;        // 1 receive, 2 send
};

Result<Diag> query_diag(const Fd& socket, uint64_t inode);
// Pure: the answer, from unix_diag_msg on.
Result<Diag> parse_diag(std::string_view answer);

}  // namespace ncr::unix_socket
