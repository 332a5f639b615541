// The way into the restorer blob.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/image/image_reader.h"
#include "engine/memory/sync_page.h"
#include "engine/resources/step_list.h"
#include "engine/tree/pid_spaces.h"

namespace ncr {

struct RestorerLaunch {
  const Image& image;
  const schema::Task& task;
  uint64_t shift;
  const StepList& steps;                      // of the process
  const std::vector<StepList>& thread_steps;  // per thread of the record
  SyncPage& sync;
  size_t task_index;                  // in RestorePlan::tasks
  int exe_fd;                         // becomes /proc/PID/exe and is closed; -1: keep ours
  const PidSpaces* spaces = nullptr;  // of the image; null: it has one
  size_t chosen_levels = SIZE_MAX;    // of the numbers of threads: that the task may choose
};

// Runs in the child, last: all signals blocked, descriptors installed, children forked. Returns
// only if it failed. Afterwards every thread is parked; sync.task(task_index) says which area the
// coordinator has to munmap and where a system call instruction is.
[[nodiscard]] Error enter_restorer(const RestorerLaunch& launch);

}  // namespace ncr
