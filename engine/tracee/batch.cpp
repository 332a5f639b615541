// Encodes commands for the parasite and decodes its answers (pie/wire.h). Pure: runs in the engine,
// touches no task. What comes back was written by code in another task's memory, so every length
// and number is checked.
#include "engine/tracee/batch.h"

namespace ncr {
namespace {

constexpr size_t kItem = sizeof(wire::ItemHeader);

Error out_of_step(const char* what) {
  return Error::malformed(strf("the parasite's answer is damaged: %s", what));
}

void append(std::string& to, const void* data, size_t size) {
  to.append(static_cast<const char*>(data), size);
  to.resize(wire::padded(to.size()));
}

}  // namespace

Batch::Message& Batch::open_message() {
  Message fresh{{}, answers_.size(), 0, sizeof(wire::BatchHeader)};
  const wire::BatchHeader header{wire::kVersion, 0};
  append(fresh.bytes, &header, sizeof header);
  return messages_.emplace_back(std::move(fresh));
}

size_t Batch::add(uint32_t id, const void* request, size_t size, size_t reply_size) {
  const size_t more = kItem + wire::padded(size);
  const size_t more_reply = kItem + wire::padded(reply_size);
  const bool fits = !messages_.empty() &&
                    messages_.back().bytes.size() + more <= wire::kMaxMessage &&
                    messages_.back().reply_size + more_reply <= wire::kMaxMessage;
  Message& message = fits ? messages_.back() : open_message();
  const wire::ItemHeader item{id, 0, static_cast<uint32_t>(size), 0};
  append(message.bytes, &item, sizeof item);
  append(message.bytes, request, size);
  message.reply_size += more_reply;
  const wire::BatchHeader header{wire::kVersion, ++message.count};
  std::memcpy(message.bytes.data(), &header, sizeof header);
  answers_.push_back({id, static_cast<uint32_t>(reply_size), ENODATA,
                      std::vector<uint64_t>(wire::padded(reply_size) / 8)});
  return answers_.size() - 1;
}

Result<> Batch::decode(size_t number, const char* data, size_t size) {
  const Message& message = messages_[number];
  wire::BatchHeader header;
  if (size < sizeof header) return out_of_step("too short");
  std::memcpy(&header, data, sizeof header);
  if (header.version != wire::kVersion) return out_of_step("another version");
  if (header.count != message.count) return out_of_step("not one answer for each command");
  size_t at = sizeof header;
  for (uint32_t index = 0; index < header.count; index++) {
    Answer& answer = answers_[message.first + index];
    wire::ItemHeader item;
    if (size - at < kItem) return out_of_step("it ends early");
    std::memcpy(&item, data + at, kItem);
    at += kItem;
    if (item.id != answer.id) return out_of_step("another command's answer");
    if (item.size > size - at || wire::padded(item.size) > size - at)
      return out_of_step("it ends early");
    if (item.status > 0 || item.status < -4095) return out_of_step("no error number");
    if (item.status == 0 && item.size != answer.size)
      return out_of_step("a reply of the wrong size");
    answer.error = -item.status;
    if (item.status == 0) std::memcpy(answer.payload.data(), data + at, item.size);
    at += wire::padded(item.size);
  }
  return {};
}

const void* Batch::find_bytes(uint32_t id, int* error) const {
  if (error != nullptr) *error = 0;
  for (size_t ticket = 0; ticket < answers_.size(); ticket++) {
    if (answers_[ticket].id != id) continue;
    if (error != nullptr) *error = answers_[ticket].error;
    return answers_[ticket].error == 0 ? reply_bytes(ticket) : nullptr;
  }
  return nullptr;
}

}  // namespace ncr
