// Internet addresses as the kernel writes them, for records and messages. Pure.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <string>

namespace ncr::inet_socket {

std::string address_text(const std::string& sockaddr_bytes);  // "127.0.0.1:80", "[::1]:80"
uint16_t port_of(const std::string& sockaddr_bytes);          // host order; 0 if none
bool is_any_address(const std::string& sockaddr_bytes);       // 0.0.0.0 or ::, or none at all

// What multicast calls take for an address of 4 or 16 bytes.
sockaddr_storage storage_of(const std::string& address);
std::string bytes_of(const sockaddr_storage& address);

}  // namespace ncr::inet_socket
