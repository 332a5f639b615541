// What others must know of autofs: the mounts that show it, the pipe that its daemon reads.
#pragma once

#include <string_view>
#include <vector>

#include "engine/resources/mount_namespace/mount_table.h"
#include "engine/resources/room.h"

namespace ncr::autofs {

constexpr const char* kType = "autofs";

// What the kernel tells of one where it is mounted. Pure.
struct Told {
  pid_t group = 0;  // of processes that it does not ask to wait
  uint64_t timeout = 0;
  int64_t pipe = -1;  // inode; -1: catatonic
};
Result<Told> parse_options(std::string_view options);

// Dump: who serves those of the tree's own, and why not if they cannot be made again.
void look(const NamespaceProbe& probe, schema::MountNamespace* table,
          std::vector<mount_namespace::Refusal>* refusals);
// Its directories and links. `proc`: a directory of the engine's procfs. Nobody is asked to mount
// anything.
Result<> read_nodes(const Fd& top, const Fd& proc, schema::MountedFileSystem* record);

// Restore, root task: it is catatonic, which lets everybody pass.
struct Made {
  Fd mount;  // put in place nowhere
  Open open;
};
Result<Made> make(const schema::MountedFileSystem& record);

// Whether the kernel writes to this pipe for a mount of the task's, which is not the engine's.
bool is_fed(const Task& reader, uint64_t pipe);
bool is_fed(const Image& image, uint64_t pipe);

}  // namespace ncr::autofs
