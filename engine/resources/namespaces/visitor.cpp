#include "engine/resources/namespaces/visitor.h"

#include <utility>

namespace ncr::namespaces {

Visitor::Visitor() : thread_([this] { run(); }) {}

Visitor::~Visitor() {
  wait();
  std::lock_guard lock(mutex_);
  over_ = true;
  changed_.notify_all();
}

void Visitor::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return over_ || work_; });
    if (!work_) return;
    lock.unlock();
    QuietThread::move_freely();
    work_();
    lock.lock();
    work_ = nullptr;
    changed_.notify_all();
  }
}

void Visitor::send(std::function<void()> work) {
  if (!thread_.started()) return;
  std::lock_guard lock(mutex_);
  work_ = std::move(work);
  changed_.notify_all();
}

void Visitor::send_beside(std::function<void()> work) {
  thread_.keep_off_this_cpu();
  send(std::move(work));
}

void Visitor::wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !work_; });
}

}  // namespace ncr::namespaces
