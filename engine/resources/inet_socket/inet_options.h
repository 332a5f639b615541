// Options of internet sockets, by family and protocol.
#pragma once

#include "engine/base/sys.h"
#include "inet_socket.pb.h"

namespace ncr::inet_socket {

// Those beyond common_socket_options(); family and protocol of the record are set.
Result<> read_inet_options(const Fd& socket, schema::InetSocket* out);

}  // namespace ncr::inet_socket
