// A connection made again from its record.
#pragma once

#include "engine/base/sys.h"
#include "tcp_socket.pb.h"

namespace ncr::tcp_socket {

// In repair: no packet is sent, and closing it tells nobody, until leave_repair().
Result<> rebuild(const Fd& socket, const schema::TcpSocket& record);

}  // namespace ncr::tcp_socket
