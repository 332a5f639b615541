// parasite, restorer: byte loops; the compiler must not turn them back into calls to themselves.
#include "pie/memory.h"

#define NO_LOOP_IDIOM [[gnu::optimize("no-tree-loop-distribute-patterns")]]

extern "C" {

NO_LOOP_IDIOM void* memcpy(void* to, const void* from, size_t size) {
  auto* out = static_cast<unsigned char*>(to);
  const auto* in = static_cast<const unsigned char*>(from);
  while (size-- > 0) *out++ = *in++;
  return to;
}

NO_LOOP_IDIOM void* memset(void* to, int byte, size_t size) {
  auto* out = static_cast<unsigned char*>(to);
  while (size-- > 0) *out++ = static_cast<unsigned char>(byte);
  return to;
}

NO_LOOP_IDIOM int memcmp(const void* a, const void* b, size_t size) {
  const auto* x = static_cast<const unsigned char*>(a);
  const auto* y = static_cast<const unsigned char*>(b);
  for (; size > 0; size--, x++, y++)
    if (*x != *y) return *x - *y;
  return 0;
}
}
