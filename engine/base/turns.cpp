#include "engine/base/turns.h"

#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <ctime>
#include <limits>
#include <vector>

namespace ncr {
namespace {

constexpr size_t kStackSize = 512 << 10;
constexpr size_t kGuardSize = 64 << 10;
constexpr size_t kRoom = kStackSize + kGuardSize;

void sleep_a_little(unsigned turn) {
  constexpr unsigned kLongestNapShift = 6;
  const timespec nap{0, 16'000L << std::min(turn, kLongestNapShift)};
  ::nanosleep(&nap, nullptr);
}

class Turns {
 public:
  Turns(char* stacks, size_t places, const std::function<void(size_t)>& body)
      : body_(body), places_(places) {
    for (size_t i = 0; i < places; i++) places_[i].stack = stacks + i * kRoom + kGuardSize;
  }

  void run(size_t count, const std::function<void()>& between) {
    size_t next = 0;
    for (size_t busy = 0; busy > 0 || next < count;) {
      shortest_ = std::numeric_limits<unsigned>::max();
      bool returned = false;
      for (Place& place : places_) {
        if (!place.busy && next < count) {
          start(place, next++);
          busy++;
        }
        if (!place.busy) continue;
        enter(place);
        if (place.busy) continue;
        busy--;
        returned = true;
      }
      if (returned) between();
      if (busy == 0) continue;
      if (shortest_ <= short_waits_)
        ::sched_yield();
      else
        sleep_a_little(shortest_ - short_waits_);
    }
  }

  // Of the running body: back to run(), until the next turn.
  void give_away(unsigned waits, unsigned short_waits) {
    shortest_ = std::min(shortest_, waits);
    short_waits_ = short_waits;
    ::swapcontext(&inside_->context, &outside_);
  }

 private:
  struct Place {
    char* stack = nullptr;
    ucontext_t context{};
    size_t number = 0;
    bool busy = false;
  };

  static void run_body();
  void start(Place& place, size_t number) {
    place.number = number;
    place.busy = true;
    ::getcontext(&place.context);
    place.context.uc_stack.ss_sp = place.stack;
    place.context.uc_stack.ss_size = kStackSize;
    place.context.uc_link = &outside_;
    ::makecontext(&place.context, &Turns::run_body, 0);
  }
  void enter(Place& place);

  const std::function<void(size_t)>& body_;
  std::vector<Place> places_;
  Place* inside_ = nullptr;
  ucontext_t outside_{};
  unsigned shortest_ = 0;  // of the waits in this round
  unsigned short_waits_ = 0;
};

// Whose turn it is on this thread: a context switch can hand over no argument.
thread_local Turns* current = nullptr;

void Turns::run_body() {
  Turns* turns = current;
  turns->body_(turns->inside_->number);
  turns->inside_->busy = false;
}

void Turns::enter(Place& place) {
  inside_ = &place;
  current = this;
  ::swapcontext(&outside_, &place.context);
  current = nullptr;
}

}  // namespace

void take_turns(size_t count, size_t at_once, const std::function<void(size_t)>& body,
                const std::function<void()>& between) {
  const size_t places = std::min(count, at_once);
  void* stacks = MAP_FAILED;
  if (places > 1)
    stacks = ::mmap(nullptr, places * kRoom, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (stacks == MAP_FAILED) {
    for (size_t i = 0; i < count; i++) {
      body(i);
      between();
    }
    return;
  }
  auto* first = static_cast<char*>(stacks);
  for (size_t i = 0; i < places; i++) ::mprotect(first + i * kRoom, kGuardSize, PROT_NONE);
  Turns(first, places, body).run(count, between);
  ::munmap(stacks, places * kRoom);
}

void Patience::wait() {
  waits_++;
  if (current != nullptr)
    current->give_away(waits_, kShortWaits);
  else if (!is_long())
    ::sched_yield();
  else
    sleep_a_little(waits_ - kShortWaits);
}

void Patience::wait_for(int fd) {
  constexpr int kPollMs = 50;
  if (current != nullptr) return wait();
  waits_ = kShortWaits + 1;
  pollfd readable{fd, POLLIN, 0};
  (void)::poll(&readable, 1, kPollMs);
}

}  // namespace ncr
