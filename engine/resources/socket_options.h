// Options of a socket, for the rooms of sockets: read all that a table names, set again those that
// a new socket has otherwise.
#pragma once

#include <google/protobuf/repeated_ptr_field.h>

#include <span>

#include "engine/base/sys.h"
#include "socket_option.pb.h"

namespace ncr {

struct SocketOptionName {
  int level;
  int name;
  const char* text;  // for messages
};

// Options of SOL_SOCKET that any kind of socket may have.
std::span<const SocketOptionName> common_socket_options();

using SocketOptions = google::protobuf::RepeatedPtrField<schema::SocketOption>;

// Options that this kernel or this kind of socket does not know are left out.
Result<> read_socket_options(const Fd& socket, std::span<const SocketOptionName> names,
                             SocketOptions* out);
// kUnsupported: a BPF filter that cannot be read back.
Result<> read_socket_filter(const Fd& socket, SocketOptions* out);
Result<> set_socket_options(const Fd& socket, const SocketOptions& options);

// One integer option, and the same with a sentence for an error.
Result<int> get_int_option(const Fd& socket, int level, int name, const char* text);
Result<> set_int_option(const Fd& socket, int level, int name, int value, const char* text);
// Buffers grow beyond the system's limit if we may. `bytes` as getsockopt gives it: twice what is
// set.
Result<> set_buffer_size(const Fd& socket, int name, int bytes);

}  // namespace ncr
