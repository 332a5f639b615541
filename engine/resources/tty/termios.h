// The kernel's struct termios2: its header cannot stand beside libc's.
#pragma once

#include "engine/base/sys.h"
#include "open_file.pb.h"

namespace ncr::tty {

// Modes and size of a terminal; through the master they are the slave's.
Result<> read_modes(const Fd& terminal, schema::Tty* out);
Result<> set_modes(const Fd& terminal, const schema::Tty& record);

}  // namespace ncr::tty
