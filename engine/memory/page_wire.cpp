// A message is a header of 40 bytes, little-endian, and a body of at most 1 MiB with a checksum. An
// end that has failed says why in a last message and hangs up.
#include "engine/memory/page_wire.h"

#include <poll.h>
#include <sys/socket.h>

#include <bit>
#include <cstring>

#include "engine/base/xxh3.h"

namespace ncr::page_wire {
namespace {

constexpr uint32_t kMagic = 0x50524e89;  // "\x89NRP"
constexpr int kPollMs = 100;

static_assert(std::endian::native == std::endian::little);

struct Header {
  uint32_t magic;
  uint32_t kind;
  uint64_t offset;
  uint32_t size;
  uint32_t reserved;
  unsigned char checksum[16];  // of the body
};
static_assert(sizeof(Header) == 40);

void checksum(const void* body, size_t size, unsigned char* to) {
  const Digest digest = xxh3_128(body, size);
  std::memcpy(to, digest.data(), sizeof digest);
}

Error hung_up() { return Error::gone("the other end of the connection is gone"); }

Result<> send_all(const Fd& socket, const void* data, size_t size, int flags) {
  const char* at = static_cast<const char*>(data);
  while (size > 0) {
    Result<ssize_t> sent =
        SYSCALL(::send(socket.get(), at, size, flags | MSG_NOSIGNAL), "send to the other end");
    if (!sent.ok() && (sent.error().os_error() == EPIPE || sent.error().os_error() == ECONNRESET))
      return hung_up();
    const ssize_t done = TRY(std::move(sent));
    at += done;
    size -= static_cast<size_t>(done);
  }
  return {};
}

// What the other end says goes to a terminal or a log of ours.
std::string printable(std::string text) {
  text.resize(std::min<size_t>(text.size(), 500));
  for (char& c : text) c = c < ' ' || c > '~' ? '?' : c;
  return text;
}

Result<> wait_for_input(const Fd& fd, const std::function<bool()>& cancelled, int patience_ms) {
  const bool forever = !cancelled && patience_ms == 0;
  for (int waited = 0;; waited += kPollMs) {
    if (cancelled && cancelled()) return Error(ErrorCode::kCancelled, "cancelled");
    if (patience_ms != 0 && waited >= patience_ms) return Error::gone("the other end says nothing");
    pollfd wait{fd.get(), POLLIN, 0};
    if (TRY(SYSCALL(::poll(&wait, 1, forever ? -1 : kPollMs), "poll")) > 0) return {};
  }
}

}  // namespace

Result<> Peer::send(Kind kind, uint64_t offset, const void* body, size_t size) const {
  Header header{kMagic, static_cast<uint32_t>(kind), offset, static_cast<uint32_t>(size), 0, {}};
  checksum(body, size, header.checksum);
  TRY(send_all(socket_, &header, sizeof header, size > 0 ? MSG_MORE : 0));
  return send_all(socket_, body, size, 0);
}

Result<> Peer::read(void* to, size_t size) const {
  char* at = static_cast<char*>(to);
  while (size > 0) {
    TRY(wait_for_input(socket_, cancelled_, patience_ms_));
    Result<ssize_t> got = SYSCALL(::recv(socket_.get(), at, size, 0), "receive from the other end");
    if (!got.ok() && got.error().os_error() == ECONNRESET) return hung_up();
    const ssize_t done = TRY(std::move(got));
    if (done == 0) return hung_up();
    at += done;
    size -= static_cast<size_t>(done);
  }
  return {};
}

Result<Message> Peer::receive() const {
  Header header{};
  TRY(read(&header, sizeof header));
  if (header.magic != kMagic || header.size > kMostBody)
    return Error::malformed("the other end does not speak our protocol");
  Message message{static_cast<Kind>(header.kind), header.offset, std::string(header.size, '\0')};
  TRY(read(message.body.data(), message.body.size()));
  unsigned char found[16];
  checksum(message.body.data(), message.body.size(), found);
  if (std::memcmp(found, header.checksum, sizeof found) != 0)
    return Error::malformed("what came over the network is damaged: its checksum does not fit");
  if (message.kind == Kind::kError)
    return Error(ErrorCode::kSystem, "the other end says: " + printable(message.body));
  return message;
}

Result<Message> Peer::receive(Kind kind) const {
  Message message = TRY(receive());
  if (message.kind == kind) return message;
  return Error::malformed(strf("the other end says %u, %u was expected",
                               static_cast<unsigned>(message.kind), static_cast<unsigned>(kind)));
}

Result<Fd> accept_one(const Fd& listener, const std::function<bool()>& cancelled) {
  TRY(wait_for_input(listener, cancelled, 0));
  return Fd(TRY(SYSCALL(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC), "accept")));
}

}  // namespace ncr::page_wire
