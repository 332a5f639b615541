// Who makes what, decided before the first fork. A pure function of the image and the request.
#pragma once

#include <map>
#include <unordered_map>
#include <vector>

#include "engine/image/image_reader.h"
#include "engine/request.h"
#include "engine/resources/step_list.h"

namespace ncr {

struct TaskPlan {
  const schema::Task* record = nullptr;
  std::vector<size_t> children;            // indices into RestorePlan::tasks, in fork order
  std::vector<uint32_t> owned_files;       // ids this task makes, in an order that satisfies depends_on
  bool set_sid = false;                    // calls setsid() ...
  size_t children_before_setsid = 0;       // ... after forking this many children
  bool temporary_subreaper = false;        // orphans below it must come back to it
  bool helper = false;                     // exists only to father orphans of a dead session leader, then exits
  StepList steps;                          // process-wide, run by the leader
  std::vector<StepList> thread_steps;      // per thread of the record
};

struct RestorePlan {
  const Image* image = nullptr;
  std::vector<TaskPlan> tasks;             // tasks[0] is the root
  int service_fd_base = 0;                 // above every descriptor number of the image
  uint64_t shift = 0;                      // docs/adr/0003; chosen by the coordinator, not by plan_restore
};

// kUnsupported: something in the image needs what this engine or request does not offer.
Result<RestorePlan> plan_restore(const Image& image, const RestoreRequest& request);

}  // namespace ncr
