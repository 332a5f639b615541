// The receive queue of a unix socket: looked at without taking anything out, and made again.
#pragma once

#include <sys/socket.h>

#include <optional>
#include <string>
#include <vector>

#include "engine/base/sys.h"

namespace ncr::unix_socket {

struct Message {  // a datagram, or bytes of a stream
  std::string data;
  std::string sender;     // sun_path of the sender
  std::vector<Fd> files;  // duplicates of descriptors in flight
  std::optional<ucred> credentials;
};

// SOCK_STREAM: messages are pieces that descriptors or credentials came with. Nothing is consumed.
Result<std::vector<Message>> peek_queue(const Fd& socket, int type);

// Sends what `message` says, by `socket`, which is connected or given `to` (sun_path). Does not
// wait.
struct Outgoing {
  const std::string* data;
  std::vector<int> files;
  std::optional<ucred> credentials;
  const std::string* to = nullptr;
};
// 0 or an errno; allocates nothing.
int send_message(int socket, const Outgoing& message);

}  // namespace ncr::unix_socket
