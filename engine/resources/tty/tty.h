// What others need to know of terminals.
#pragma once

#include "engine/resources/file_restorer.h"
#include "open_file.pb.h"

namespace ncr::tty {

// Whether the file is an end of the terminal with this device number, as /proc/PID/stat writes it.
// Pure.
bool is_terminal(const schema::OpenFile& file, uint32_t device);
uint32_t stat_device(const schema::Tty& tty);

// "/dev/pts/3"
std::string name_of(const schema::Tty& tty);

// A terminal of ours, for a tree whose terminal lay outside: standard input, output or error. -1:
// none.
int own_terminal();

}  // namespace ncr::tty
