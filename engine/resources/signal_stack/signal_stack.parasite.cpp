// parasite: sigaltstack(2); our own stack is not inside the one it tells of.
#include "engine/resources/signal_stack/signal_stack.h"
#include "pie/syscall.h"

namespace ncr::signal_stack {

pie::Ret handle(const Get::Request&, Get::Reply& reply) {
  return pie::sys(__NR_sigaltstack, nullptr, &reply.stack);
}

}  // namespace ncr::signal_stack
