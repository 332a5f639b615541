#include "engine/base/quiet_thread.h"

#include <sched.h>

#include <algorithm>

#include <csignal>

namespace ncr {
namespace {

void* run(void* argument) {
  std::unique_ptr<std::function<void()>> body(static_cast<std::function<void()>*>(argument));
  (*body)();
  return nullptr;
}

}  // namespace

QuietThread::QuietThread(std::function<void()> body) {
  auto argument = std::make_unique<std::function<void()>>(std::move(body));
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

unsigned worker_threads(unsigned wanted) {
  constexpr int kMost = 4;
  if (wanted != 0) return wanted;
  cpu_set_t cpus;
  if (::sched_getaffinity(0, sizeof cpus, &cpus) != 0) return 1;
  return static_cast<unsigned>(std::clamp(CPU_COUNT(&cpus), 1, kMost));
}

}  // namespace ncr
