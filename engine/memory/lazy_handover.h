// The way of a lazily restored tree to the daemon that will fill its memory: one connection, which
// every process of the tree inherits for as long as it is being made.
#pragma once

#include <string>

#include "engine/base/sys.h"

namespace ncr {

namespace lazy_wire {

constexpr uint32_t kVersion = 1;

enum class Kind : uint32_t {
  kHello = 1,  // coordinator; uuid of the image
  kTask = 2,   // a task being born, with its userfaultfd (SCM_RIGHTS); number: its pid in the image
  kStart = 3,  // coordinator: all of them are there; number: how many
  kOk = 4,     // daemon, to kHello and kStart
  kError = 5,  // daemon; text
};

struct Message {
  Kind kind;
  uint32_t version;
  int32_t number;
  uint32_t size;  // of the text
  char text[240];
};

Result<> send(int socket, const Message& message, int fd = -1);

struct Received {
  Message message{};
  Fd fd;
  pid_t sender = 0;  // as our pid namespace numbers it; needs SO_PASSCRED
};
// kGone: the other end has hung up.
Result<Received> receive(int socket);

// A unix socket of packets at `path`, which may be longer than an address can be.
Result<Fd> connect_to(const std::string& path);
Result<Fd> listen_at(const std::string& path);

}  // namespace lazy_wire

// Runs in the caller of a restore: the connection. Fails if the daemon serves another image.
Result<Fd> greet_lazy_pages(const std::string& socket_path, const std::string& uuid);

// Runs in the coordinator, once every task is parked: the daemon takes over.
Result<> start_lazy_pages(int socket, size_t tasks);

// Runs in a task being born, when nothing more is forked: its address space is final.
Result<> hand_over_memory(int socket, int32_t pid);

}  // namespace ncr
