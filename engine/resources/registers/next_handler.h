// Which handler a thread runs before anything else. Pure.
#pragma once

#include "task.pb.h"

namespace ncr::registers {

// The action behind the signal that the kernel delivers first to this thread: of its own queue
// before the process's, the lowest number of each. Null if none is pending and not blocked, or it
// has no handler. A signal of the process goes to the first thread that does not block it.
const schema::SignalAction* next_handler(const schema::Task& task, const schema::Thread& thread);

}  // namespace ncr::registers
