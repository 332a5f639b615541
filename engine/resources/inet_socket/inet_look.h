// What every room of internet sockets asks of one (engine and child).
#pragma once

#include "engine/resources/room.h"
#include "inet_socket.pb.h"

namespace ncr::inet_socket {

// enum of the kernel's include/net/tcp_states.h
enum TcpState : uint8_t {
  kEstablished = 1,
  kSynSent = 2,
  kSynReceived = 3,
  kFinWait1 = 4,
  kFinWait2 = 5,
  kTimeWait = 6,
  kClose = 7,
  kCloseWait = 8,
  kLastAck = 9,
  kListen = 10,
  kClosing = 11,
  kNewSynReceived = 12,
};
const char* state_name(uint32_t state);

struct TcpLook {
  uint8_t state = kClose;
  uint32_t waiting = 0;  // of a listener: connections to be accepted
  uint32_t backlog = 0;
};
Result<TcpLook> look_at_tcp(const Fd& socket);

bool is_internet(const FdProbe& probe);
bool is_tcp(const Fd& socket);

// struct sockaddr of one end. Empty: not connected.
Result<std::string> local_address(const Fd& socket);
Result<std::string> peer_address(const Fd& socket);
// The same, also of a connection that has ended, which getpeername(2) does not tell.
Result<std::string> last_peer_address(const Fd& socket);
// What is shut down of a bound UDP socket (InetSocket.shutdown).
Result<uint32_t> shutdown_of_udp(const Fd& socket, const schema::InetSocket& known);
Result<std::string> device_of(const Fd& socket);  // SO_BINDTODEVICE; empty: any

// Family, type, protocol, options, filter; not the addresses.
Result<> read_socket(const FdProbe& probe, schema::InetSocket* out);
// A blocker if the filter cannot be read.
Result<> preflight_filter(const FdProbe& probe, Blockers& blockers);

// A new socket with the options of the record.
// An address that a socket can be bound to here without IP_FREEBIND. True if nobody can say.
bool is_address_here(const Fd& socket, const std::string& local);
// `local` is not of this machine and the option that allows that is off by now: it stands twice in
// the record then.
void note_foreign_address(schema::InetSocket* socket);

Result<Fd> make_socket(const schema::InetSocket& record);
Result<> bind_to(const Fd& fd, const schema::InetSocket& socket);

}  // namespace ncr::inet_socket
