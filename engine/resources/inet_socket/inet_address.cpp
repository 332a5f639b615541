// See inet_address.h. (engine and child)
#include "engine/resources/inet_socket/inet_address.h"

#include <arpa/inet.h>

#include <cstddef>
#include <cstring>

#include "engine/base/strf.h"

namespace ncr::inet_socket {

std::string address_text(const std::string& bytes) {
  char text[INET6_ADDRSTRLEN] = "?";
  if (bytes.size() >= sizeof(sockaddr_in6)) {
    sockaddr_in6 address{};
    memcpy(&address, bytes.data(), sizeof address);
    ::inet_ntop(AF_INET6, &address.sin6_addr, text, sizeof text);
    return strf("[%s]:%u", text, ntohs(address.sin6_port));
  }
  if (bytes.size() < sizeof(sockaddr_in)) return "nowhere";
  sockaddr_in address{};
  memcpy(&address, bytes.data(), sizeof address);
  ::inet_ntop(AF_INET, &address.sin_addr, text, sizeof text);
  return strf("%s:%u", text, ntohs(address.sin_port));
}

uint16_t port_of(const std::string& bytes) {
  static_assert(offsetof(sockaddr_in, sin_port) == offsetof(sockaddr_in6, sin6_port));
  if (bytes.size() < sizeof(sockaddr_in)) return 0;
  sockaddr_in address{};
  memcpy(&address, bytes.data(), sizeof address);
  return ntohs(address.sin_port);
}

bool is_any_address(const std::string& bytes) {
  if (bytes.size() >= sizeof(sockaddr_in6)) {
    sockaddr_in6 address{};
    memcpy(&address, bytes.data(), sizeof address);
    return IN6_IS_ADDR_UNSPECIFIED(&address.sin6_addr);
  }
  if (bytes.size() < sizeof(sockaddr_in)) return true;
  sockaddr_in address{};
  memcpy(&address, bytes.data(), sizeof address);
  return address.sin_addr.s_addr == INADDR_ANY;
}

sockaddr_storage storage_of(const std::string& address) {
  sockaddr_storage storage{};
  if (address.size() == sizeof(in6_addr)) {
    storage.ss_family = AF_INET6;
    memcpy(reinterpret_cast<char*>(&storage) + offsetof(sockaddr_in6, sin6_addr), address.data(),
           sizeof(in6_addr));
  } else if (address.size() == sizeof(in_addr)) {
    storage.ss_family = AF_INET;
    memcpy(reinterpret_cast<char*>(&storage) + offsetof(sockaddr_in, sin_addr), address.data(),
           sizeof(in_addr));
  }
  return storage;
}

std::string bytes_of(const sockaddr_storage& storage) {
  const char* base = reinterpret_cast<const char*>(&storage);
  if (storage.ss_family == AF_INET6)
    return std::string(base + offsetof(sockaddr_in6, sin6_addr), sizeof(in6_addr));
  return std::string(base + offsetof(sockaddr_in, sin_addr), sizeof(in_addr));
}

}  // namespace ncr::inet_socket
