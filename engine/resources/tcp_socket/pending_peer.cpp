// See pending_peer.h. /proc/PID/net/tcp shows the sockets of the task's network namespace, both
// ends of each. (engine)
#include "engine/resources/tcp_socket/pending_peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <charconv>
#include <cstring>
#include <vector>

#include "engine/resources/socket_options.h"

namespace ncr::tcp_socket {
namespace {

constexpr size_t kPeerField = 2;
constexpr size_t kInodeField = 9;

std::vector<std::string_view> fields_of(std::string_view line) {
  std::vector<std::string_view> fields;
  for (size_t at = 0; (at = line.find_first_not_of(' ', at)) != std::string_view::npos;) {
    const size_t end = std::min(line.find(' ', at), line.size());
    fields.push_back(line.substr(at, end - at));
    at = end;
  }
  return fields;
}

template <class T>
bool number(std::string_view text, int base, T* value) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value, base);
  return error == std::errc() && end == text.data() + text.size();
}

// "0100007F:1F90": 32-bit words as this machine reads them, then the port.
std::string address_of(std::string_view text, int family) {
  const size_t words = family == AF_INET6 ? 4 : 1;
  if (text.size() != words * 8 + 5 || text[words * 8] != ':') return {};
  uint32_t host[4] = {};
  uint16_t port = 0;
  for (size_t i = 0; i < words; i++)
    if (!number(text.substr(i * 8, 8), 16, &host[i])) return {};
  if (!number(text.substr(words * 8 + 1), 16, &port)) return {};
  if (family == AF_INET6) {
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_port = htons(port);
    memcpy(&address.sin6_addr, host, sizeof address.sin6_addr);
    return std::string(reinterpret_cast<const char*>(&address), sizeof address);
  }
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = host[0];
  return std::string(reinterpret_cast<const char*>(&address), sizeof address);
}

}  // namespace

std::string parse_peer(std::string_view text, uint64_t inode, int family) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::vector<std::string_view> fields = fields_of(text.substr(0, end));
    uint64_t of = 0;
    if (fields.size() > kInodeField && number(fields[kInodeField], 10, &of) && of == inode)
      return address_of(fields[kPeerField], family);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return {};
}

Result<std::string> pending_peer(const FdProbe& probe) {
  if (probe.task == nullptr) return std::string();
  const int family = TRY(get_int_option(probe.local, SOL_SOCKET, SO_DOMAIN, "SO_DOMAIN"));
  const char* file = family == AF_INET6 ? "net/tcp6" : "net/tcp";
  return parse_peer(TRY(sys::read_file_at(probe.task->proc, file)), probe.stat.st_ino, family);
}

}  // namespace ncr::tcp_socket
