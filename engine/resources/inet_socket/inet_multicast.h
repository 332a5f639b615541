// Multicast groups that a socket joined.
#pragma once

#include <string_view>
#include <vector>

#include "engine/base/sys.h"
#include "inet_socket.pb.h"

namespace ncr::inet_socket {

struct HostGroup {
  uint32_t interface = 0;
  std::string address;  // 4 or 16 bytes
};
// Groups that any socket of the machine is in. Pure: the text of /proc/net/igmp, /proc/net/igmp6.
std::vector<HostGroup> parse_igmp(std::string_view text);
std::vector<HostGroup> parse_igmp6(std::string_view text);

// `holder`: /proc of a task in the socket's network namespace.
Result<> read_groups(const Fd& holder, const Fd& socket, schema::InetSocket* out);
Result<> join_groups(const Fd& socket, const schema::InetSocket& record);

}  // namespace ncr::inet_socket
