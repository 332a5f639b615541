// Several parasite commands in one round trip. Rooms ask() first, run() sends, then each room reads
// its own answers.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"
#include "pie/wire.h"

namespace ncr {

class Batch {
 public:
  // Adds a command; the ticket finds its answer.
  template <class Command>
  size_t ask(const typename Command::Request& request) {
    static_assert(sizeof(typename Command::Request) <= kMaxPayload &&
                  sizeof(typename Command::Reply) <= kMaxPayload);
    return add(Command::kId, &request, sizeof request, sizeof(typename Command::Reply));
  }
  // After the batch ran: the answer, or the error number the call gave inside the target (0 ok).
  template <class Command>
  const typename Command::Reply& reply(size_t ticket) const {
    return *reinterpret_cast<const typename Command::Reply*>(reply_bytes(ticket));
  }
  // The answer to the one such command in this batch; null if it was not asked or failed (then
  // *error is its errno).
  template <class Command>
  const typename Command::Reply* find(int* error = nullptr) const {
    return static_cast<const typename Command::Reply*>(find_bytes(Command::kId, error));
  }
  int error(size_t ticket) const { return answers_[ticket].error; }  // positive errno

  // For Parasite: a batch is as many messages as it needs, each answered by one.
  size_t messages() const { return messages_.size(); }
  std::string_view encoded(size_t message) const { return messages_[message].bytes; }
  // Of the answer, if every command succeeds: the longest there can be.
  size_t reply_size(size_t message) const { return messages_[message].reply_size; }
  void ask_nothing() { open_message(); }  // a batch to see that the parasite answers
  Result<> decode(size_t message, const char* data, size_t size);

 private:
  static constexpr size_t kMaxPayload =
      wire::kMaxMessage - sizeof(wire::BatchHeader) - sizeof(wire::ItemHeader);
  struct Message {
    std::string bytes;
    size_t first;  // of answers_
    uint32_t count;
    size_t reply_size;  // if every command succeeds
  };
  struct Answer {
    uint32_t id;
    uint32_t size;
    int error;
    std::vector<uint64_t> payload;  // 8-byte aligned
  };
  Message& open_message();
  size_t add(uint32_t id, const void* request, size_t size, size_t reply_size);
  const void* find_bytes(uint32_t id, int* error) const;
  const void* reply_bytes(size_t ticket) const { return answers_[ticket].payload.data(); }
  std::vector<Message> messages_;
  std::vector<Answer> answers_;
};

}  // namespace ncr
