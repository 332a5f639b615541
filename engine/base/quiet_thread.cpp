#include "engine/base/quiet_thread.h"

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

}  // namespace ncr
