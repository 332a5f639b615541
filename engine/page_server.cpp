// Runs on its own, beside a dump or a restore on another machine. What arrives may come from
// anybody: sizes and checksums are checked (engine/memory/page_wire.h), a file is never written
// over, and what cannot be finished is removed.
#include "engine/page_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "engine/base/ids.h"
#include "engine/base/undo.h"
#include "engine/image/image_dir.h"
#include "engine/memory/page_wire.h"

namespace ncr {
namespace {

using page_wire::Kind;
using page_wire::Message;
using page_wire::Peer;

constexpr int kGreetingMs = 5000;
constexpr uint64_t kMostBytes = uint64_t{1} << 50;

Result<bool> is_listening(const Fd& socket) {
  int listening = 0;
  socklen_t size = sizeof listening;
  TRY(SYSCALL(::getsockopt(socket.get(), SOL_SOCKET, SO_ACCEPTCONN, &listening, &size),
              "look at the page server's socket"));
  return listening != 0;
}

Result<Fd> duplicate(int fd) {
  return Fd(TRY(SYSCALL(::fcntl(fd, F_DUPFD_CLOEXEC, 0), "socket %d", fd)));
}

// The other end hears why, if it still listens.
Error tell(const Peer& peer, Error error) {
  (void)peer.send(Kind::kError, 0, error.text().data(),
                  std::min<size_t>(error.text().size(), page_wire::kMostBody));
  return error;
}

// The first message of a connection.
Result<Message> greeting(const Peer& peer, Kind wanted) {
  Message hello = TRY(peer.receive());
  if (hello.kind != wanted)
    return Error::malformed(wanted == Kind::kStore ? "it does not bring the pages of a dump"
                                                   : "it does not ask for pages");
  if (hello.offset != page_wire::kVersion)
    return Error::unsupported(
        strf("it speaks version %llu of the protocol, this nativecr version %u",
             static_cast<unsigned long long>(hello.offset), page_wire::kVersion));
  return hello;
}

// Whoever is not who we wait for is told so, and we go on waiting.
Result<Peer> next_peer(const Fd& socket, Kind wanted, const Callbacks& callbacks, Message* hello) {
  const bool listening = TRY(is_listening(socket));
  for (;;) {
    Fd connected = TRY(listening ? page_wire::accept_one(socket, callbacks.cancelled)
                                 : duplicate(socket.get()));
    Peer peer(std::move(connected), callbacks.cancelled);
    if (listening) peer.set_patience(kGreetingMs);
    Result<Message> greeted = greeting(peer, wanted);
    peer.set_patience(0);
    if (greeted.ok()) {
      *hello = greeted.take();
      return peer;
    }
    Error error = tell(peer, greeted.take_error());
    if (!listening || error.code() == ErrorCode::kCancelled) return error;
    callbacks.log.warning("a connection was refused: %s", error.text().c_str());
  }
}

// pages-1.img as it grows; gone again unless it is kept.
class Incoming {
 public:
  static Result<Incoming> create(const std::string& path) {
    Result<int> made = SYSCALL(::mkdir(path.c_str(), 0700), "create directory %s", path.c_str());
    if (!made.ok() && made.error().os_error() != EEXIST) return made.take_error();
    Fd dir = TRY(sys::open(path.c_str(), O_RDONLY | O_DIRECTORY));
    Fd file = TRY_WHILE(sys::open_at(dir, kPagesFile, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600),
                        "%s", path.c_str());
    return Incoming(std::move(dir), std::move(file), path);
  }
  Incoming(Incoming&&) = default;
  ~Incoming() {
    if (dir_.valid() && !kept_) (void)::unlinkat(dir_.get(), kPagesFile, 0);
  }

  Result<> add(const Message& message) {
    const uint64_t size = message.body.size();
    if (size == 0 || size % kPageSize != 0 || message.offset % kPageSize != 0 ||
        message.offset > kMostBytes)
      return Error::malformed("pages that are none");
    Result<> written = sys::pwrite_all(file_, message.body.data(), size, message.offset);
    if (!written.ok()) return explain_no_room(written.take_error().while_doing(path_), path_);
    bytes_ += size;
    end_ = std::max(end_, message.offset + size);
    return {};
  }

  Result<> keep(uint64_t size) {
    if (size != bytes_ || size != end_)
      return Error::malformed(strf("%llu bytes of pages came, %llu were sent",
                                   static_cast<unsigned long long>(bytes_),
                                   static_cast<unsigned long long>(size)));
    TRY(SYSCALL(::fdatasync(file_.get()), "sync %s/%s", path_.c_str(), kPagesFile));
    TRY(SYSCALL(::fsync(dir_.get()), "sync %s", path_.c_str()));
    kept_ = true;
    return {};
  }

  uint64_t bytes() const { return bytes_; }

 private:
  Incoming(Fd dir, Fd file, std::string path)
      : dir_(std::move(dir)), file_(std::move(file)), path_(std::move(path)) {}
  Fd dir_;
  Fd file_;
  std::string path_;
  uint64_t bytes_ = 0;
  uint64_t end_ = 0;
  bool kept_ = false;
};

Result<> take_pages(const Peer& peer, Incoming* pages) {
  for (;;) {
    Message message = TRY(peer.receive());
    if (message.kind == Kind::kDone) return pages->keep(message.offset);
    if (message.kind != Kind::kPages) return Error::malformed("it sent something else than pages");
    TRY(pages->add(message));
  }
}

Result<> answer(const Peer& peer, const Message& message, ServedPages* pages) {
  uint64_t size = 0;
  if (message.kind != Kind::kGet || message.body.size() != sizeof size)
    return Error::malformed("it asked for something else than pages");
  std::memcpy(&size, message.body.data(), sizeof size);
  if (size == 0 || size > page_wire::kMostBody || size > pages->size ||
      message.offset > pages->size - size)
    return Error::malformed("it asked for pages that there are not");
  std::string bytes(size, '\0');
  TRY(sys::pread_exact(pages->file, bytes.data(), size, message.offset));
  TRY(peer.send(Kind::kPages, message.offset, bytes.data(), size));
  pages->fetched += size;
  return {};
}

Result<> serve_one(const Peer& peer, ServedPages* pages) {
  for (;;) {
    Message message = TRY(peer.receive());
    if (message.kind == Kind::kDone) return peer.send(Kind::kOk, 0);
    TRY(answer(peer, message, pages));
  }
}

}  // namespace

Result<Fd> listen_at(const std::string& address, uint16_t port) {
  sockaddr_in v4{};
  sockaddr_in6 v6{};
  v4.sin_family = AF_INET;
  v4.sin_port = htons(port);
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(port);
  const bool is_v6 = ::inet_pton(AF_INET6, address.c_str(), &v6.sin6_addr) == 1;
  if (!is_v6 && !address.empty() && ::inet_pton(AF_INET, address.c_str(), &v4.sin_addr) != 1)
    return Error::usage(strf("%s is no numeric address to listen at", address.c_str()));
  Fd socket(
      TRY(SYSCALL(::socket(is_v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket")));
  const int on = 1;
  TRY(SYSCALL(::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on),
              "SO_REUSEADDR"));
  const auto* name =
      is_v6 ? reinterpret_cast<const sockaddr*>(&v6) : reinterpret_cast<const sockaddr*>(&v4);
  TRY(SYSCALL(::bind(socket.get(), name, is_v6 ? sizeof v6 : sizeof v4), "listen at %s port %u",
              address.empty() ? "any address" : address.c_str(), static_cast<unsigned>(port)));
  TRY(SYSCALL(::listen(socket.get(), 8), "listen at port %u", static_cast<unsigned>(port)));
  return socket;
}

Result<> say_ready(int status_fd) {
  if (status_fd < 0) return {};
  TRY(SYSCALL(::write(status_fd, "", 1), "write to the status descriptor"));
  return {};
}

Result<PageServerReport> serve_pages(const PageServerRequest& request) {
  Fd socket = TRY(request.socket >= 0 ? duplicate(request.socket)
                                      : listen_at(request.address, request.port));
  TRY(say_ready(request.status_fd));
  Message hello;
  Peer peer = TRY(next_peer(socket, Kind::kStore, request.callbacks, &hello));
  Result<Incoming> made = Incoming::create(request.images_dir);
  if (!made.ok()) return tell(peer, made.take_error());
  Incoming pages = made.take();
  TRY(peer.send(Kind::kOk, 0));
  Result<> taken = take_pages(peer, &pages);
  if (!taken.ok()) return tell(peer, taken.take_error());
  TRY(peer.send(Kind::kOk, 0));
  return PageServerReport{pages.bytes()};
}

Result<> serve_fetches(int socket, ServedPages* pages, const Callbacks& callbacks) {
  Fd from = TRY(duplicate(socket));
  Message hello;
  Peer peer = TRY(next_peer(from, Kind::kFetch, callbacks, &hello));
  if (hello.body != pages->uuid)
    return tell(peer, Error::usage("it restores another image than the one that is served"));
  TRY(peer.send(Kind::kOk, 0));
  Result<> served = serve_one(peer, pages);
  if (served.ok()) return served;
  return tell(peer, served.take_error());
}

}  // namespace ncr
