// See unix_names.h. (engine and child)
#include "engine/resources/unix_socket/unix_names.h"

#include <sys/socket.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace ncr::unix_socket {
namespace {

constexpr uint64_t kPairs = uint64_t{0x55} << 56;  // groups of other rooms have other first bytes
constexpr uint64_t kNames = uint64_t{0x56} << 56;

}  // namespace

std::string name_of(const sockaddr_un& address, socklen_t size) {
  size_t prefix = offsetof(sockaddr_un, sun_path);
  if (size <= prefix) return {};
  size_t length = std::min<size_t>(size - prefix, sizeof address.sun_path);
  if (address.sun_path[0] != '\0') length = strnlen(address.sun_path, length);
  return std::string(address.sun_path, length);
}

socklen_t address_of(const std::string& name, sockaddr_un* address) {
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  size_t length = std::min(name.size(), sizeof address->sun_path);
  memcpy(address->sun_path, name.data(), length);
  bool ends = !is_abstract(name) && length < sizeof address->sun_path;
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length + (ends ? 1 : 0));
}

std::string printable(const std::string& name) {
  std::string text = name;
  for (char& c : text)
    if (c == '\0')
      c = '@';
    else if (static_cast<unsigned char>(c) < 32)
      c = '?';
  return text;
}

bool base_of(const std::string& name, const std::string& node, std::string* base) {
  std::string tail = name[0] == '/' ? name : "/" + name;
  if (!node.ends_with(tail)) return false;
  *base = node.substr(0, node.size() - tail.size());
  if (base->empty()) base->push_back('/');
  return true;
}

bool is_accepted(const schema::UnixSocket& socket) {
  if (socket.type() == SOCK_DGRAM || !socket.connected() || socket.name().empty()) return false;
  // Both named: a client exists before the kernel makes the other end.
  return socket.peer_name().empty() || socket.peer_inode() == 0 ||
         socket.peer_inode() < socket.inode();
}

uint64_t pair_group(uint64_t inode, uint64_t peer) { return kPairs | std::min(inode, peer); }

uint64_t name_group(const std::string& name) {
  uint64_t hash = 14695981039346656037u;
  for (char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  return kNames | (hash >> 8);
}

void set_groups(schema::OpenFile* record) {
  const schema::UnixSocket& socket = record->unix_socket();
  uint64_t peer = socket.peer_inode();
  if (peer != 0)
    record->set_group_id(pair_group(socket.inode(), peer));
  else if (socket.connected())
    record->set_group_id(pair_group(socket.inode(), socket.inode()));
  for (uint64_t client : socket.pending())
    if (client != 0) record->add_joins(pair_group(client, client));
  // One abstract name can be borne by one socket at a time, so all that had it are made in turn.
  // Datagram sockets are connected by name.
  bool datagrams = socket.type() == SOCK_DGRAM;
  if (!socket.name().empty() && (datagrams || is_abstract(socket.name())))
    record->add_joins(name_group(socket.name()));
  if (!socket.peer_name().empty() && (datagrams ? peer != 0 : is_abstract(socket.peer_name())))
    record->add_joins(name_group(socket.peer_name()));
}

}  // namespace ncr::unix_socket
