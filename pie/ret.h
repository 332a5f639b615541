// What a raw system call answers: a value, or -errno. Freestanding.
#pragma once

namespace pie {

class [[nodiscard]] Ret {
 public:
  constexpr Ret(long raw) : raw_(raw) {}  // NOLINT: the kernel's own long
  static constexpr Ret success() { return Ret(0); }
  constexpr bool ok() const { return raw_ < -4095 || raw_ >= 0; }
  constexpr long raw() const { return raw_; }
  constexpr int err() const {
    return ok() ? 0 : static_cast<int>(-raw_);
  }  // positive errno, 0 if ok

 private:
  long raw_;
};

}  // namespace pie
