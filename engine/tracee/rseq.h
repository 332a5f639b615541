// Restartable sequences (rseq(2)) and a thread that is made to run code of ours.
#pragma once

#include "arch/arch.h"
#include "engine/base/result.h"
#include "engine/tracee/seized_thread.h"

namespace ncr {

// The registers with which a stopped thread may go on after anything else than its own code ran in
// it: as given, or at the abort handler of the restartable sequence it stands in.
Result<arch::Registers> leave_restartable_sequence(const SeizedThread& thread,
                                                   arch::Registers registers);

}  // namespace ncr
