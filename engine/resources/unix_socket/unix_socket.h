// The halves of the room: looking (unix_socket.cpp), making (unix_restore.cpp), filling
// (unix_connect.cpp).
#pragma once

#include "engine/resources/aside.h"
#include "engine/resources/file_restorer.h"
#include "engine/resources/room.h"

namespace ncr::unix_socket {

Result<Fd> open(FileRestorer& files, const schema::OpenFile& record);
Result<> connect(FileRestorer& files, const schema::OpenFile& record, const Fd& socket);

// Null if it is not in the image.
const schema::OpenFile* find_peer(const FileRestorer& files, const schema::UnixSocket& socket);
// Datagram sockets that socketpair(2) made: each is the other's peer, and a name on both would have
// let them connect by it.
bool is_datagram_pair(const FileRestorer& files, const schema::UnixSocket& socket);
// Of the stash: a socket made before its turn; the far end of a connection whose peer is closed,
// kept until the queue is filled.
std::string socket_key(uint64_t inode);
std::string closed_peer_key(uint64_t inode);

// Whom the peer is to see; the pid is left out if another process of the tree has it by then.
Aside as_peer(const FileRestorer& files, const schema::UnixCredentials& credentials);
// One of the tasks that hold the file.
Aside as_holder(const FileRestorer& files, uint32_t file_id);

}  // namespace ncr::unix_socket
