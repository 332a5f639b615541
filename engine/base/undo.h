// A lambda that runs on the way out unless cancelled: the rollback of one step.
#pragma once

#include <utility>

namespace ncr {

template <class F>
class [[nodiscard]] Undo {
 public:
  explicit Undo(F action) : action_(std::move(action)) {}
  Undo(const Undo&) = delete;
  Undo& operator=(const Undo&) = delete;
  ~Undo() {
    if (armed_) action_();
  }
  void cancel() { armed_ = false; }

 private:
  F action_;
  bool armed_ = true;
};

}  // namespace ncr
