// TCP_REPAIR (net/ipv4/tcp.c): the state of a connection is read and written, and closing it tells
// nobody. Calls give 0 or an errno and allocate nothing: they also run in a process aside.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ncr::tcp_socket {

enum class Queue : int { kNone = 0, kReceive = 1, kSend = 2 };

// Leaving resets SO_REUSEADDR (tcp_setsockopt sets SK_NO_REUSE), so its value is given back.
enum class Leave : int {
  kQuietly = -1,   // TCP_REPAIR_OFF_NO_WP
  kWithProbe = 0,  // and asks the peer what it has
};
int enter_repair(int socket);
int leave_repair(int socket, Leave how, int reuse_address);

int choose_queue(int socket, Queue queue);
int get_sequence(int socket, uint32_t* value);  // of the chosen queue
int set_sequence(int socket, Queue queue, uint32_t value);

}  // namespace ncr::tcp_socket
