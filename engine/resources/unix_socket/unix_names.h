// Names of unix sockets, and which sockets one task must make together. Pure.
#pragma once

#include <sys/un.h>

#include <string>

#include "open_file.pb.h"

namespace ncr::unix_socket {

// A name is the bytes of sun_path: a path, without the zero at its end, or a zero byte and an
// abstract name.
inline bool is_abstract(const std::string& name) { return !name.empty() && name[0] == '\0'; }
std::string name_of(const sockaddr_un& address, socklen_t size);
socklen_t address_of(const std::string& name, sockaddr_un* address);
std::string printable(const std::string& name);  // "@name" for abstract ones, for messages

// Where a path that a socket was bound to begins, if the node is at `node`: the name "run/x" and
// the node "/srv/run/x" give "/srv". False if the node's path does not end with the name (a
// symbolic link on the way).
bool base_of(const std::string& name, const std::string& node, std::string* base);

// The end of a connection that accept(2) made. It bears the listener's name.
bool is_accepted(const schema::UnixSocket& socket);

uint64_t pair_group(uint64_t inode, uint64_t peer);
uint64_t name_group(const std::string& name);
// Fills group_id and joins of a record whose socket is complete.
void set_groups(schema::OpenFile* record);

}  // namespace ncr::unix_socket
