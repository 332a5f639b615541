// The controlling terminal of a session.
#pragma once

#include "engine/resources/file_restorer.h"

namespace ncr::controlling_terminal {

// Runs in the child, right after setsid(): members of the session inherit the terminal when they
// are forked. Nothing for a task that leads no session.
Result<> take(const FileRestorer& files, const schema::Task& task);

}  // namespace ncr::controlling_terminal
