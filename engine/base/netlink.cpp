// Netlink framing (engine, child): a datagram is a row of messages, each a nlmsghdr, the family's
// header and attributes (type, length, value, padded to 4). A question ends with NLMSG_DONE or with
// NLMSG_ERROR, whose code is 0 for an acknowledgement. Written here and not taken from libnl: it is
// one file, and the command starts without mapping two more libraries.
#include "engine/base/netlink.h"

#include <linux/netlink.h>
#include <sys/socket.h>

#include <algorithm>

#include "engine/base/foreign_socket.h"

namespace ncr::netlink {
namespace {

constexpr size_t kDatagramBytes = size_t{40} << 10;  // the kernel fills at most 32 KiB of a listing
constexpr int kMostTries = 5;

size_t padded(size_t size) { return (size + 3) & ~size_t{3}; }

std::string explanation(std::string_view message, const nlmsgerr& error, uint16_t flags) {
  if ((flags & NLM_F_ACK_TLVS) == 0) return "";
  size_t skip = sizeof(nlmsghdr) + sizeof(nlmsgerr);
  if ((flags & NLM_F_CAPPED) == 0 && error.msg.nlmsg_len >= sizeof(nlmsghdr))
    skip += padded(error.msg.nlmsg_len - sizeof(nlmsghdr));
  if (skip >= message.size()) return "";
  return std::string(Attributes::find(message.substr(skip), NLMSGERR_ATTR_MSG).text());
}

Result<> outcome(std::string_view message, uint16_t flags) {
  nlmsgerr error{};
  if (message.size() < sizeof(nlmsghdr) + sizeof error)
    return Error(ErrorCode::kSystem, "netlink: a short answer");
  memcpy(&error, message.data() + sizeof(nlmsghdr), sizeof error);
  if (error.error == 0) return {};
  std::string why = explanation(message, error, flags);
  return Error::system(-error.error, why.empty() ? "netlink" : strf("netlink (%s)", why.c_str()));
}

// NLMSG_DONE may carry the code of a listing that failed.
Result<> outcome_of_listing(std::string_view body) {
  int code = 0;
  if (body.size() >= sizeof code) memcpy(&code, body.data(), sizeof code);
  if (code < 0) return Error::system(-code, "netlink");
  return {};
}

}  // namespace

uint32_t Attribute::u32() const {
  uint32_t number = 0;
  if (value.size() >= sizeof number) memcpy(&number, value.data(), sizeof number);
  return number;
}

std::string_view Attribute::text() const { return value.substr(0, value.find('\0')); }

bool Attributes::next(Attribute* attribute) {
  nlattr header{};
  if (rest_.size() < sizeof header) return false;
  memcpy(&header, rest_.data(), sizeof header);
  if (header.nla_len < sizeof header || header.nla_len > rest_.size()) return false;
  attribute->type = header.nla_type & NLA_TYPE_MASK;
  attribute->flags = header.nla_type & static_cast<uint16_t>(~NLA_TYPE_MASK);
  attribute->value = rest_.substr(sizeof header, header.nla_len - sizeof header);
  rest_.remove_prefix(std::min(padded(header.nla_len), rest_.size()));
  return true;
}

Attribute Attributes::find(std::string_view bytes, uint16_t type) {
  Attributes walk(bytes);
  Attribute attribute;
  while (walk.next(&attribute))
    if (attribute.type == type) return attribute;
  return {type, {}, 0};
}

bool Attributes::has(std::string_view bytes, uint16_t type) {
  Attributes walk(bytes);
  Attribute attribute;
  while (walk.next(&attribute))
    if (attribute.type == type) return true;
  return false;
}

Request::Request(uint16_t type, unsigned flags) {
  nlmsghdr first{};
  first.nlmsg_type = type;
  first.nlmsg_flags = static_cast<uint16_t>(flags | NLM_F_REQUEST);
  header(first);
}

Request& Request::append(std::string_view bytes) {
  bytes_.append(bytes);
  bytes_.resize(padded(bytes_.size()));
  return *this;
}

Request& Request::put(uint16_t type, std::string_view value) {
  nlattr attribute{static_cast<uint16_t>(sizeof(nlattr) + value.size()), type};
  header(attribute);
  return append(value);
}

Request& Request::put_text(uint16_t type, std::string_view text) {
  return put(type, std::string(text) + '\0');
}

size_t Request::nest(uint16_t type) {
  size_t at = bytes_.size();
  put(static_cast<uint16_t>(type | NLA_F_NESTED), {});
  return at;
}

void Request::end(size_t nest) {
  auto size = static_cast<uint16_t>(bytes_.size() - nest);
  memcpy(bytes_.data() + nest, &size, sizeof size);
}

const std::string& Request::finish(uint32_t sequence, unsigned more_flags) {
  nlmsghdr first{};
  memcpy(&first, bytes_.data(), sizeof first);
  first.nlmsg_len = static_cast<uint32_t>(bytes_.size());
  first.nlmsg_seq = sequence;
  first.nlmsg_flags = static_cast<uint16_t>(first.nlmsg_flags | more_flags);
  memcpy(bytes_.data(), &first, sizeof first);
  return bytes_;
}

std::string_view Reply::attributes(size_t header_size) const {
  std::string_view all = body;
  return all.substr(std::min(padded(header_size), all.size()));
}

Result<bool> take_apart(std::string_view datagram, uint32_t sequence, std::vector<Reply>* replies,
                        bool* interrupted) {
  while (!datagram.empty()) {
    nlmsghdr header{};
    if (datagram.size() >= sizeof header) memcpy(&header, datagram.data(), sizeof header);
    if (header.nlmsg_len < sizeof header || header.nlmsg_len > datagram.size())
      return Error(ErrorCode::kSystem, "netlink: a damaged answer");
    std::string_view message = datagram.substr(0, header.nlmsg_len);
    datagram.remove_prefix(std::min(padded(header.nlmsg_len), datagram.size()));
    if (header.nlmsg_seq != sequence) continue;  // a late answer to an earlier question
    if ((header.nlmsg_flags & NLM_F_DUMP_INTR) != 0) *interrupted = true;
    std::string_view body = message.substr(sizeof header);
    if (header.nlmsg_type == NLMSG_ERROR) {
      TRY(outcome(message, header.nlmsg_flags));
      return true;
    }
    if (header.nlmsg_type == NLMSG_DONE) {
      TRY(outcome_of_listing(body));
      return true;
    }
    replies->push_back({header.nlmsg_type, std::string(body)});
  }
  return false;
}

Socket Socket::with_words(Fd fd) {
  const int on = 1;
  // Both are comfort: the kernel's own words in errors, and no copy of the question in them.
  (void)::setsockopt(fd.get(), SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof on);
  (void)::setsockopt(fd.get(), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  return Socket(std::move(fd));
}

Result<Socket> Socket::open(int protocol) {
  return with_words(Fd(
      TRY(SYSCALL(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol), "socket of netlink"))));
}

Result<Socket> Socket::open_beside(const Fd& socket, int protocol) {
  return with_words(
      TRY_WHILE(socket_beside(socket, AF_NETLINK, SOCK_RAW, protocol), "socket of netlink"));
}

Result<> Socket::exchange(const std::string& bytes, const char* what, std::vector<Reply>* replies,
                          bool* interrupted) {
  TRY(SYSCALL(::send(fd_.get(), bytes.data(), bytes.size(), 0), "netlink: %s", what));
  std::string datagram(kDatagramBytes, '\0');
  for (bool last = false; !last;) {
    ssize_t size = TRY(SYSCALL(::recv(fd_.get(), datagram.data(), datagram.size(), MSG_TRUNC),
                               "netlink: %s", what));
    if (static_cast<size_t>(size) > datagram.size())
      return Error(ErrorCode::kSystem, strf("netlink: %s: an answer of %zd bytes", what, size));
    last = TRY_WHILE(take_apart(std::string_view(datagram).substr(0, static_cast<size_t>(size)),
                                sequence_, replies, interrupted),
                     "%s", what);
  }
  return {};
}

Result<> Socket::run(Request& request, const char* what) {
  std::vector<Reply> replies;
  bool interrupted = false;
  return exchange(request.finish(++sequence_, NLM_F_ACK), what, &replies, &interrupted);
}

Result<Reply> Socket::get(Request& request, const char* what) {
  std::vector<Reply> replies;
  bool interrupted = false;
  TRY(exchange(request.finish(++sequence_, NLM_F_ACK), what, &replies, &interrupted));
  if (replies.empty()) return Error(ErrorCode::kSystem, strf("netlink: %s: no answer", what));
  return std::move(replies.front());
}

Result<std::vector<Reply>> Socket::list(Request& request, const char* what) {
  for (int tries = 0; tries < kMostTries; tries++) {
    std::vector<Reply> replies;
    bool interrupted = false;
    TRY(exchange(request.finish(++sequence_, NLM_F_DUMP), what, &replies, &interrupted));
    if (!interrupted) return replies;
  }
  return Error(ErrorCode::kSystem, strf("netlink: %s: it changes while it is listed", what));
}

}  // namespace ncr::netlink
