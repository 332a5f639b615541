// The story of one process of the tree, from its clone to the restorer. Runs in children; the
// coordinator only clones the root.
#pragma once

#include <sys/types.h>

#include "engine/memory/restorer_launch.h"
#include "engine/request.h"
#include "engine/resources/cgroup/cgroup_restore.h"
#include "engine/resources/file_restorer.h"
#include "engine/resources/shared_memory/shared_memory.h"
#include "engine/restore_plan.h"
#include "engine/tree/birth_register.h"
#include "engine/tree/namespace_set.h"

namespace ncr {

// Stages of the whole tree before the restorer: indices into SyncHeader::counters.
enum TreeCounter : size_t {
  kAdopted,      // by the coordinator: 1 the root is seized, 2 everybody is
  kForked,       // processes that have forked all their children
  kJoined,       // tasks that are in their group
  kHelpersGone,  // helpers that were waited for
  kSharersDone,  // tasks in another's descriptor table that no longer need its old content
  kInstalled,    // descriptor tables that are as in the image, while somebody lives in another's
  kNamespaces,   // 1 the root has made them, 2 the caller's hook has seen them, 3 they are filled
};

// How many take part in what.
struct TreeCounts {
  explicit TreeCounts(const RestorePlan& plan);
  uint32_t processes = 0;
  uint32_t helpers = 0;
  uint32_t founders_that_leave = 0;  // of a group that others are in
  uint32_t sharers = 0;              // live in their creator's descriptor table
  uint32_t tables = 0;               // live tasks with a descriptor table of their own
  uint32_t zombies = 0;
};

// Everything a child inherits. Made by the coordinator, copied by every fork.
struct Nursery {
  const RestorePlan& plan;
  const RestoreRequest& request;
  const SharedMemoryObjects& shared_memory;
  SyncPage& sync;
  FileRestorer& files;
  NamespaceSet& namespaces;
  const BirthRegister& born;
  int procfs;             // of the coordinator, if the tree has namespaces of its own; else -1
  const Fd& coordinator;  // pidfd
  TreeCounts counts;
  pid_t callers_group;  // for groups led from outside
  const cgroup::Cgroups& cgroups;
};

// Runs in the coordinator, all signals blocked: clones the root as a child of its own parent.
// Returns in the coordinator only.
Result<pid_t> clone_root(const Nursery& nursery);

}  // namespace ncr
