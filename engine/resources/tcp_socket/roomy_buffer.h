// The buffer of a socket, widened for a while.
#pragma once

#include <asm/socket.h>

#include <algorithm>

#include "engine/resources/socket_options.h"

#ifndef SO_BUF_LOCK
#define SO_BUF_LOCK 72
#endif

namespace ncr::tcp_socket {

// A buffer that takes all of a queue, with what the kernel counts for each piece.
class RoomyBuffer {
 public:
  // name: SO_SNDBUF or SO_RCVBUF.
  static Result<RoomyBuffer> widen(const Fd& socket, int name, size_t queued) {
    constexpr size_t kMost = 1 << 30;
    const int before = TRY(get_int_option(socket, SOL_SOCKET, name, "buffer size"));
    const auto wanted = static_cast<int>(std::min(kMost, 4 * queued + (128 << 10)));
    if (wanted <= before) return RoomyBuffer(name, 0, 0);
    const int lock = TRY(get_int_option(socket, SOL_SOCKET, SO_BUF_LOCK, "SO_BUF_LOCK"));
    TRY(set_buffer_size(socket, name, wanted));
    return RoomyBuffer(name, before, lock);
  }
  Result<> put_back(const Fd& socket) const {
    if (before_ == 0) return {};
    TRY(set_buffer_size(socket, name_, before_));
    return set_int_option(socket, SOL_SOCKET, SO_BUF_LOCK, lock_, "SO_BUF_LOCK");
  }

 private:
  RoomyBuffer(int name, int before, int lock) : name_(name), before_(before), lock_(lock) {}
  int name_;
  int before_;
  int lock_;
};

}  // namespace ncr::tcp_socket
