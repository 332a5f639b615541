// Who makes what, decided before the first fork. A pure function of the image and the request.
#pragma once

#include <map>
#include <unordered_map>
#include <vector>

#include "engine/image/image_reader.h"
#include "engine/request.h"
#include "engine/resources/step_list.h"
#include "engine/tree/pid_spaces.h"
#include "engine/tree/user_spaces.h"

namespace ncr {

// One process to create: a task of the image, or a helper. See engine/tree/fork_order.h for the
// words.
struct TaskPlan {
  const schema::Task* record = nullptr;  // null for a helper
  pid_t pid = 0;                 // 0: a helper that takes any number that the image does not use
  pid_t pgid = 0;                // 0: the group of whoever asked for the restore
  uint32_t pid_space = 0;        // it is born in (engine/tree/pid_spaces.h)
  std::vector<pid_t> numbers;    // there and above, `pid` last; none if that is 0
  size_t creator = 0;            // index of the process that clones it; the root's is its own
  bool as_sibling = false;       // cloned with CLONE_PARENT: a child of its creator's parent
  std::vector<size_t> children;  // indices into RestorePlan::tasks, in fork order
  std::vector<uint32_t> owned_files;  // ids this task makes, in an order that satisfies depends_on
  bool shares_files = false;          // cloned with CLONE_FILES: its creator's descriptor table
  int exe_fd = -1;  // where FileRestorer leaves the executable for PR_SET_MM_EXE_FILE, to be closed
                    // by the restorer
  int procfs_fd = -1;                 // where it leaves what procfs::look_through was given
  int user_fd = -1;                   // likewise the user namespace that it enters there
  uint32_t born_user = 0;             // user space that it is born in (engine/tree/birth_plan.h)
  size_t chosen_levels = 1;           // of its numbers, the first ones: that its creator may choose
  size_t chosen_for_threads = 1;      // of the numbers of its threads: that it may choose
  bool set_sid = false;               // calls setsid() ...
  size_t children_before_setsid = 0;  // ... after forking this many children
  bool founds_group = false;  // calls setpgid(0, 0) at once; if that is not its pgid, it leaves
                              // when the members have joined
  bool temporary_subreaper = false;  // orphans below it must come back to it
  bool helper = false;               // exists only to father orphans or to lead a group, then exits
  StepList steps;                    // process-wide, run by the leader
  std::vector<StepList> thread_steps;  // per thread of the record

  // Its number as a process in a space above its own, or in that, has it.
  pid_t number_at(size_t depth) const { return numbers[numbers.size() - 1 - depth]; }
  bool live() const { return record != nullptr && record->state() != schema::TASK_ZOMBIE; }
};

struct RestorePlan {
  const Image* image = nullptr;
  PidSpaces spaces;
  UserSpaces users;
  std::vector<TaskPlan> tasks;  // tasks[0] is the root; creators before whom they create
  int service_fd_base = 0;      // above every descriptor number of the image
  bool renumbered = false;      // the root gets its number in another pid namespace than ours
  int lazy_socket = -1;         // of whom lazy pages come from; -1: nothing is left for later
  uint64_t shift = 0;           // docs/adr/0003; chosen by the coordinator, not by plan_restore
};

// kUnsupported: something in the image needs what this engine or request does not offer.
Result<RestorePlan> plan_restore(const Image& image, const RestoreRequest& request);

}  // namespace ncr
