// Connections that have ended but still hang at a descriptor.
#pragma once

#include "engine/base/sys.h"
#include "tcp_socket.pb.h"

namespace ncr::tcp_socket {

// What waits in a receive queue; it stays there.
Result<std::string> peek_received(const Fd& socket, size_t size);
Result<> read_ended(const Fd& socket, schema::TcpSocket* out);

// Reads what was left, then the end of file; writing gives EPIPE. Has no names.
Result<> make_ended(const Fd& socket, const schema::TcpSocket& record);

}  // namespace ncr::tcp_socket
