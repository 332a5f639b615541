// engine: a call that was interrupted ends with EINTR or is issued again, depending on the handler
// that runs next.
#include "engine/resources/registers/next_handler.h"

#include <csignal>
#include <cstring>

namespace ncr::registers {
namespace {

using Infos = google::protobuf::RepeatedPtrField<std::string>;

uint64_t numbers_in(const Infos& infos) {
  uint64_t numbers = 0;
  for (const std::string& info : infos) {
    int number = 0;
    memcpy(&number, info.data(), std::min(info.size(), sizeof number));
    if (number >= 1 && number <= 64) numbers |= 1ull << (number - 1);
  }
  return numbers;
}

// Those of the process's signals that are this thread's to take.
uint64_t share_of(const schema::Task& task, const schema::Thread& thread) {
  uint64_t left = numbers_in(task.pending_signals());
  for (const schema::Thread& other : task.threads()) {
    if (&other == &thread) break;
    left &= other.signal_mask();
  }
  return left & ~thread.signal_mask();
}

}  // namespace

const schema::SignalAction* next_handler(const schema::Task& task, const schema::Thread& thread) {
  uint64_t deliverable = numbers_in(thread.pending_signals()) & ~thread.signal_mask();
  if (deliverable == 0) deliverable = share_of(task, thread);
  if (deliverable == 0) return nullptr;
  const auto number = static_cast<uint32_t>(__builtin_ctzll(deliverable) + 1);
  const auto ignore = reinterpret_cast<uint64_t>(SIG_IGN);
  for (const schema::SignalAction& action : task.signal_actions())
    if (action.number() == number)
      return action.handler() != 0 && action.handler() != ignore ? &action : nullptr;
  return nullptr;
}

}  // namespace ncr::registers
