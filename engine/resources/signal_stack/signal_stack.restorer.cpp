// restorer: the thread's alternate signal stack, in place of any that the engine had.
#include "engine/resources/signal_stack/signal_stack.h"
#include "pie/syscall.h"

namespace ncr::signal_stack {

pie::Ret run(const Set& step) { return pie::sys(__NR_sigaltstack, &step.stack, nullptr); }

}  // namespace ncr::signal_stack
