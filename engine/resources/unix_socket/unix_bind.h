// Names given to sockets being restored, and how they are reached. See unix_restore.cpp for the
// whole.
#pragma once

#include "engine/resources/aside.h"
#include "engine/resources/file_restorer.h"
#include "engine/resources/unix_socket/unix_names.h"

namespace ncr::unix_socket {

constexpr uint64_t kStash = uint64_t{0x55} << 56;  // the room's corner of FileRestorer's stash

// Gives `fd` the name of the record: its node in the file system is made anew, with owner and mode,
// if the record has one.
Result<> bind_socket(FileRestorer& files, const Fd& fd, const schema::UnixSocket& socket);

// The root directory in which a name without a node is bound and looked up: an empty file system of
// our own for a path, -1 (ours) for an abstract name. Sockets that stand in for senders have
// another one, so that they push nobody out.
enum class Root { kOfSockets, kOfSenders };
Result<int> root_for(FileRestorer& files, const std::string& name, Root root);
Result<> bind_without_node(FileRestorer& files, const Fd& fd, const std::string& name, Root root);

// For use within run_aside(): 0 or an errno, no memory is allocated.
struct Address {
  explicit Address(const std::string& name);
  int bind(int fd) const;  // below the root of root_for(): directories above are made
  int connect(int fd) const;
  void unlink() const;
  sockaddr_un address;
  socklen_t size;
  std::string path;  // empty: abstract
  std::vector<std::string> directories;
};

// Leads to a socket that has been made: its node, or its name.
Result<Address> address_to(FileRestorer& files, const schema::UnixSocket& socket);

// "connect /run/x: Connection refused"
Result<> check_call(Result<int> error, const char* what, const std::string& name);

}  // namespace ncr::unix_socket
