// The contract every architecture folder fulfils, with the same file names in each:
//   arch/<name>/pie_syscall.h   pie::raw_syscall(number, six arguments) and the call numbers,
//   freestanding arch/<name>/registers.h     namespace ncr::arch::<name>: struct Registers
//   (NT_PRSTATUS) and what is pure about it:
//                               ip sp flags result, set_ip set_sp set_syscall set_kept, enter_blob,
//                               resume_registers, is_native
//   arch/<name>/springboard.h   the code of docs/adr/0001, as bytes with patched immediates; pure
//   arch/<name>/select.h        makes ncr::arch::<name> the ncr::arch of this build
//   arch/<name>/parasite_entry.S, restorer_entry.S   byte 0 of each blob
// Which folder is meant is decided by the include path (arch_current), so there is no architecture
// #if anywhere else. registers.h and springboard.h of every architecture compile, and are tested,
// on every host.
#pragma once

#include "arch_current/pie_syscall.h"
#include "arch_current/select.h"

namespace ncr::arch {

constexpr unsigned kGeneralRegset = 1;  // NT_PRSTATUS

}  // namespace ncr::arch
