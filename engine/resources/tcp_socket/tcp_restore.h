// A connection made again from its record.
#pragma once

#include "engine/base/sys.h"
#include "tcp_socket.pb.h"

namespace ncr::tcp_socket {

// In repair: no packet is sent, and closing it tells nobody, until leave_repair().
Result<> rebuild(const Fd& socket, const schema::TcpSocket& record);

// One that has ended and knows still between whom it was. Sends nothing. SO_REUSEADDR is left on.
Result<> rebuild_ended(const Fd& socket, const schema::TcpSocket& record);

int reuse_address_of(const schema::TcpSocket& record);  // SO_REUSEADDR

}  // namespace ncr::tcp_socket
