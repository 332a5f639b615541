// syscall<Arguments...>(number, ...) with pointers and integers passed as they are; freestanding.
#pragma once

#include "arch_current/pie_syscall.h"

namespace pie {

template <class T>
inline long as_long(T value) {
  if constexpr (__is_same(T, decltype(nullptr)))
    return 0;
  else if constexpr (requires { *value; })
    return reinterpret_cast<long>(value);
  else
    return static_cast<long>(value);
}

// sys(__NR_close, fd): the raw call, -errno on failure. Six arguments at most.
template <class... Args>
inline Ret sys(long number, Args... args) {
  return raw_syscall(number, as_long(args)...);
}

}  // namespace pie
