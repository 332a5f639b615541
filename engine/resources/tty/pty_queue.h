// Bytes on their way through a pseudo-terminal.
#pragma once

#include "engine/base/sys.h"
#include "tty.pb.h"

namespace ncr::tty {

// What the master has to read, and what the slave has to read. Both sides must stand still; both
// queues are as before afterwards.
Result<> read_queues(const Fd& master, bool packet_mode, schema::Tty* out);
// The same bytes again, in a new pair. Modes are set by the caller, afterwards.
Result<> fill_queues(const Fd& master, const schema::Tty& record);

}  // namespace ncr::tty
