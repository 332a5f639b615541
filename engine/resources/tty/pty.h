// Pseudo-terminals made again, under their numbers.
#pragma once

#include "engine/base/sys.h"
#include "open_file.pb.h"

namespace ncr::tty {

// Unlocked, not in packet mode. An error names who has the number.
Result<Fd> make_master(const schema::OpenFile& record);
Result<Fd> open_slave(int master, const schema::OpenFile& record);
// /dev/tty of a session whose controlling terminal is this pair's slave.
Result<Fd> open_current(int master, const schema::OpenFile& record);
// A slave whose master is closed; its number does not matter any more.
Result<Fd> make_hung_up(const schema::OpenFile& record);
// A description of its own for the terminal behind a descriptor of ours.
Result<Fd> reopen_terminal(int fd, int flags);

}  // namespace ncr::tty
