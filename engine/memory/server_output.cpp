#include "engine/memory/server_output.h"

#include <fcntl.h>

#include <algorithm>

namespace ncr {

using page_wire::Kind;

Result<std::unique_ptr<PageOutput>> ServerOutput::open(int socket) {
  Fd copy(TRY(SYSCALL(::fcntl(socket, F_DUPFD_CLOEXEC, 0), "page server")));
  page_wire::Peer peer(std::move(copy), {});
  TRY_WHILE(peer.send(Kind::kStore, page_wire::kVersion), "page server");
  TRY_WHILE(peer.receive(Kind::kOk), "page server");
  return std::unique_ptr<PageOutput>(std::make_unique<ServerOutput>(std::move(peer)));
}

// A server that has failed has said why before it hung up.
Result<> ServerOutput::explain(Result<> sent) {
  if (sent.ok()) return sent;
  Result<page_wire::Message> said = peer_.receive();
  const bool better = !said.ok() && said.error().code() == ErrorCode::kSystem;
  return (better ? said.take_error() : sent.take_error()).while_doing("page server");
}

Result<> ServerOutput::write(const char* data, uint64_t size, uint64_t offset) {
  std::lock_guard<std::mutex> lock(mutex_);
  for (uint64_t done = 0; done < size;) {
    const uint64_t part = std::min<uint64_t>(size - done, page_wire::kMostBody);
    TRY(explain(peer_.send(Kind::kPages, offset + done, data + done, part)));
    done += part;
  }
  return {};
}

Result<> ServerOutput::finish(uint64_t size) {
  TRY(explain(peer_.send(Kind::kDone, size)));
  TRY_WHILE(peer_.receive(Kind::kOk), "page server");
  return {};
}

}  // namespace ncr
