// How a table of mounts is built: from what each mount comes, where it goes, how mounts spread.
// Pure.
#pragma once

#include <string>
#include <vector>

#include "engine/request.h"
#include "engine/resources/mount_namespace/mountinfo.h"
#include "namespace.pb.h"

namespace ncr::mount_namespace {

// Where a mount is taken from.
struct MountSource {
  enum class Kind {
    kPath,       // a copy of what is mounted at `path` of whoever restores
    kHost,       // a copy of one of their mounts, and `below` in it
    kMade,       // a file system made for this mount alone
    kShared,     // a copy of a file system made beside (MountPlan::shared), and `below` in it
    kMount,      // a copy of a mount that was put in place before, and `below` in it
    kElsewhere,  // a copy of a mount of a namespace that was built before, and `below` in it
    kNamespace,  // a mount of a namespace (Mount.namespace_kind)
    kTerminal    // a pseudo-terminal's node: it exists when terminals are made again
  };
  Kind kind = Kind::kMade;
  std::string path;
  size_t index = 0;  // kHost: of the line; kShared: of MountPlan::shared; kMount: of placements;
                     // kElsewhere: of MountPlan::elsewhere
  std::string below;
};

struct Placement {
  const schema::Mount* mount = nullptr;
  const schema::MountedFileSystem* file_system = nullptr;
  MountSource source;
  size_t parent = 0;          // placement; its own for the root, the first
  std::string point;          // below the parent's root, "" on top of that
  bool keeps_master = false;  // takes mounts from where its source does
  uint32_t late = 0;  // id of the pid namespace whose first process puts it in place; 0: at once
};

struct Spread {
  enum class Kind { kShare, kJoin, kJoinSource, kSlave, kUnbindable, kJoinElsewhere };
  Kind kind;
  size_t placement;
  size_t from = 0;  // kJoin: placement; kJoinElsewhere: of MountPlan::elsewhere
};

// A mount of another mount namespace of the tree.
struct Elsewhere {
  uint32_t space = 0;  // id of the namespace
  const schema::Mount* mount = nullptr;
  const schema::MountedFileSystem* file_system = nullptr;
};

struct MountPlan {
  std::vector<Elsewhere> elsewhere;
  std::vector<const schema::MountedFileSystem*> shared;  // several mounts show them
  std::vector<Placement> placements;                     // in the order they are put in place
  std::vector<Spread> spreads;                           // afterwards, in order
};

// `own`: the table of whoever restores. `earlier`: namespaces with mounts that were built before,
// in order. The plan points into `record` and `earlier`.
Result<MountPlan> plan_mounts(const schema::MountNamespace& record,
                              const std::vector<MountLine>& own, const RestoreRequest& request,
                              const std::vector<const schema::Namespace*>& earlier = {});

}  // namespace ncr::mount_namespace
