// Which FINs a connection has seen. Pure.
#pragma once

#include <cstdint>

#include "engine/resources/inet_socket/inet_look.h"

namespace ncr::tcp_socket {

struct HalfClose {
  bool sent_fin = false;
  bool received_fin = false;
  bool sent_first = false;  // which matters if both
};

inline HalfClose half_close_of(uint32_t state) {
  using namespace inet_socket;  // NOLINT: the states
  switch (state) {
    case kFinWait1:
    case kFinWait2:
      return {true, false, true};
    case kCloseWait:
      return {false, true, false};
    case kLastAck:
      return {true, true, false};
    case kClosing:
      return {true, true, true};
    default:
      return {};
  }
}

}  // namespace ncr::tcp_socket
