// What a dump and a page server, or a lazy restore and its dump, say to each other over a stream
// socket. Both ends check what they get: sizes before memory is taken, checksums before bytes are
// used. Nothing is encrypted; nobody is authenticated.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "engine/base/sys.h"

namespace ncr::page_wire {

constexpr uint32_t kVersion = 1;
constexpr uint32_t kMostBody = 1 << 20;  // bytes

enum class Kind : uint32_t {
  kStore = 1,  // first of a dump: it will send pages. offset: kVersion
  kFetch = 2,  // first of a lazy restore: it will ask for pages. offset: kVersion, body: image uuid
  kOk = 3,     // the answer to the two above, and to kDone
  kError = 4,  // in place of any answer; body: a sentence. The connection is over
  kPages = 5,  // body: pages from `offset` on; also the answer to kGet
  kDone = 6,   // of a dump: `offset` bytes were sent. Of a lazy restore: it has all it wants
  kGet = 7,    // body: 8 bytes, how many bytes are wanted from `offset` on
};

struct Message {
  Kind kind{};
  uint64_t offset = 0;
  std::string body;
};

// A connection. Not for several threads at once.
class Peer {
 public:
  // cancelled: asked while it waits; may be empty.
  Peer(Fd socket, std::function<bool()> cancelled)
      : socket_(std::move(socket)), cancelled_(std::move(cancelled)) {}

  Result<> send(Kind kind, uint64_t offset, const void* body = nullptr, size_t size = 0) const;
  // kGone: the other end has hung up. kError becomes an error of ours, with its sentence.
  // kMalformed: not our protocol, or damaged.
  Result<Message> receive() const;
  // receive(), which must be of this kind.
  Result<Message> receive(Kind kind) const;
  // How long receive() waits for a sign of life; 0: for ever.
  void set_patience(int milliseconds) { patience_ms_ = milliseconds; }
  const Fd& socket() const { return socket_; }

 private:
  Result<> read(void* to, size_t size) const;

  Fd socket_;
  std::function<bool()> cancelled_;
  int patience_ms_ = 0;
};

// A connection to a listening socket.
Result<Fd> accept_one(const Fd& listener, const std::function<bool()>& cancelled);

}  // namespace ncr::page_wire
