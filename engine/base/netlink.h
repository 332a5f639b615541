// Messages of netlink(7): made, sent, taken apart. No length in them is trusted.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "engine/base/sys.h"

namespace ncr::netlink {

struct Attribute {
  uint16_t type = 0;  // without NLA_F_NESTED and NLA_F_NET_BYTEORDER
  std::string_view value;
  uint16_t flags = 0;  // those two

  uint32_t u32() const;           // 0 if it is shorter
  std::string_view text() const;  // up to the first NUL
};

// Attributes one after the other, as in a message or in a nested attribute. What does not fit ends
// the walk.
class Attributes {
 public:
  explicit Attributes(std::string_view bytes) : rest_(bytes) {}
  bool next(Attribute* attribute);
  bool whole() const { return rest_.empty(); }  // after the last: nothing was left over

  static Attribute find(std::string_view bytes, uint16_t type);  // an empty value if there is none
  static bool has(std::string_view bytes, uint16_t type);

 private:
  std::string_view rest_;
};

// A request: header, the family's own header, attributes.
class Request {
 public:
  Request(uint16_t type, unsigned flags);

  template <class T>
  Request& header(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    return append({reinterpret_cast<const char*>(&value), sizeof value});
  }
  Request& append(std::string_view bytes);  // padded to 4
  Request& put(uint16_t type, std::string_view value);
  Request& put_text(uint16_t type, std::string_view text);  // with its NUL
  template <class T>
  Request& put_value(uint16_t type, T value) {
    static_assert(std::is_trivially_copyable_v<T>);
    return put(type, {reinterpret_cast<const char*>(&value), sizeof value});
  }
  size_t nest(uint16_t type);  // until end(what it returned)
  void end(size_t nest);

  const std::string& finish(uint32_t sequence, unsigned more_flags);

 private:
  std::string bytes_;
};

struct Reply {
  uint16_t type = 0;
  std::string body;  // what follows nlmsghdr

  // The family's own header; zeros if the answer is too short for it.
  template <class T>
  T header() const {
    T value{};
    if (body.size() >= sizeof value) memcpy(&value, body.data(), sizeof value);
    return value;
  }
  std::string_view attributes(size_t header_size) const;
};

class Socket {
 public:
  explicit Socket(Fd fd) : fd_(std::move(fd)) {}  // that was opened elsewhere
  static Result<Socket> open(int protocol);  // NETLINK_*, in the calling thread's network namespace
  // In the network namespace of this socket, which may be any.
  static Result<Socket> open_beside(const Fd& socket, int protocol);

  // Done, or an error with the kernel's own explanation; `what` is its object.
  Result<> run(Request& request, const char* what);
  // The one answer to a question.
  Result<Reply> get(Request& request, const char* what);
  // All answers of a NLM_F_DUMP question, asked again if the objects changed meanwhile.
  Result<std::vector<Reply>> list(Request& request, const char* what);

 private:
  static Socket with_words(Fd fd);
  Result<> exchange(const std::string& bytes, const char* what, std::vector<Reply>* replies,
                    bool* interrupted);

  Fd fd_;
  uint32_t sequence_ = 0;
};

// Pure: one datagram of answers to the request of this number. True: it was the last one.
Result<bool> take_apart(std::string_view datagram, uint32_t sequence, std::vector<Reply>* replies,
                        bool* interrupted);

}  // namespace ncr::netlink
