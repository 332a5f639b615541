#include "engine/base/quiet_thread.h"

#include <sched.h>

#include <algorithm>

#include <csignal>

namespace ncr {
namespace {

struct Start {
  std::function<void()> body;
  cpu_set_t cpus{};  // of whoever starts it; empty: unknown
};

thread_local cpu_set_t cpus_from_the_start{};

void* run(void* argument) {
  std::unique_ptr<Start> start(static_cast<Start*>(argument));
  cpus_from_the_start = start->cpus;
  start->body();
  return nullptr;
}

}  // namespace

QuietThread::QuietThread(std::function<void()> body) {
  auto argument = std::make_unique<Start>(Start{std::move(body)});
  if (::sched_getaffinity(0, sizeof argument->cpus, &argument->cpus) != 0)
    CPU_ZERO(&argument->cpus);
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  if (pthread_create(&thread, nullptr, run, argument.get()) == 0) {
    thread_ = thread;
    (void)argument.release();  // run() owns it
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

QuietThread::~QuietThread() {
  if (thread_) pthread_join(*thread_, nullptr);
}

Errand::Errand() : thread_([this] { wait_for_work(); }) {}

Errand::~Errand() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return state_ != State::kTaken; });
  state_ = State::kOver;
  changed_.notify_all();
}

void Errand::wait_for_work() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return state_ != State::kIdle; });
  if (state_ != State::kGiven) return;
  state_ = State::kTaken;
  lock.unlock();
  QuietThread::move_freely();
  work_();
  lock.lock();
  state_ = State::kDone;
  changed_.notify_all();
}

void Errand::begin(std::function<void()> work) {
  thread_.keep_off_this_cpu();
  std::lock_guard lock(mutex_);
  work_ = std::move(work);
  state_ = State::kGiven;
  changed_.notify_all();
}

void Errand::finish() {
  std::unique_lock lock(mutex_);
  if (state_ == State::kGiven) {
    state_ = State::kDone;
    lock.unlock();
    return work_();
  }
  changed_.wait(lock, [this] { return state_ != State::kTaken; });
}

void QuietThread::keep_off_this_cpu() const {
  const int here = ::sched_getcpu();
  cpu_set_t cpus;
  if (!thread_ || here < 0 || ::sched_getaffinity(0, sizeof cpus, &cpus) != 0) return;
  CPU_CLR(here, &cpus);
  if (CPU_COUNT(&cpus) > 0) (void)pthread_setaffinity_np(*thread_, sizeof cpus, &cpus);
}

void QuietThread::move_freely() {
  if (CPU_COUNT(&cpus_from_the_start) > 0)
    (void)::sched_setaffinity(0, sizeof cpus_from_the_start, &cpus_from_the_start);
}

unsigned worker_threads(unsigned wanted) {
  constexpr int kMost = 4;
  if (wanted != 0) return wanted;
  cpu_set_t cpus;
  if (::sched_getaffinity(0, sizeof cpus, &cpus) != 0) return 1;
  return static_cast<unsigned>(std::clamp(CPU_COUNT(&cpus), 1, kMost));
}

}  // namespace ncr
