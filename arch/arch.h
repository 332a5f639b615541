// The contract every architecture folder fulfils, with the same file names in each:
//   arch/<name>/pie_syscall.h   pie::raw_syscall(number, six arguments) and the call numbers, freestanding
//   arch/<name>/registers.h     struct Registers and the pure functions declared below
//   arch/<name>/springboard.h   the code of docs/adr/0001, as bytes with patched immediates; pure
//   arch/<name>/parasite_entry.S, restorer_entry.S   byte 0 of each blob
// Which folder is meant is decided by the include path (arch/<name>/current), so there is no architecture #if anywhere else.
#pragma once

#include "arch_current/pie_syscall.h"
#include "arch_current/registers.h"
#include "arch_current/springboard.h"
