// What all architectures share of going on after a stop. Pure.
#pragma once

#include <cstdint>

namespace ncr::arch {

// Where an interrupted system call goes on: the task that was stopped still has the kernel's
// restart block, a new one has not.
enum class ResumeIn { kSameTask, kNewTask };

// What an interrupted call leaves in the result register; never seen by user space
// (include/linux/errno.h of the kernel).
constexpr int64_t kRestartSys = -512;
constexpr int64_t kRestartNoIntr = -513;
constexpr int64_t kRestartNoHand = -514;
constexpr int64_t kRestartBlock = -516;

}  // namespace ncr::arch
