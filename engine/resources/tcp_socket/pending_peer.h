// Where a connection leads that is not established yet: getpeername(2) does not tell.
#pragma once

#include <string_view>

#include "engine/resources/room.h"

namespace ncr::tcp_socket {

// struct sockaddr_in or _in6 of the line with this inode; empty if there is none. Pure: the text of
// /proc/net/tcp, or tcp6.
std::string parse_peer(std::string_view text, uint64_t inode, int family);

// Empty if it is not connecting any more.
Result<std::string> pending_peer(const FdProbe& probe);

}  // namespace ncr::tcp_socket
