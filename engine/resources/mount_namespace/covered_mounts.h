// Mounts that no path leads to, because others are mounted over them.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <unordered_map>
#include <vector>

#include "engine/base/sys.h"
#include "engine/resources/mount_namespace/mountinfo.h"

namespace ncr::mount_namespace {

// Dump, on a thread that has entered the namespace `space`. `lines`: its table; `proc`: a directory
// of the engine's procfs. Copies of the mounts with these ids, put in place nowhere; those that
// could not be reached are missing.
Result<std::map<uint32_t, Fd>> uncover(const std::vector<MountLine>& lines, const Fd& space,
                                       const Fd& proc, const std::set<uint32_t>& wanted);

// The order in which a table can be taken down: what is mounted on a mount comes before it, and
// what hides something else there before that. As indices of `lines`. Pure.
std::vector<size_t> order_of_removal(const std::vector<MountLine>& lines);
// Which line of the table `copy` stands for which line of `lines`, by id of the latter. Pure.
std::map<uint32_t, const MountLine*> match_tables(const std::vector<MountLine>& lines,
                                                  const std::vector<MountLine>& copy);

// The table of a copy that the calling thread is in, and by its ids those in `lines`.
struct CopiedTable {
  std::vector<MountLine> lines;
  std::unordered_map<uint32_t, uint32_t> originals;
};
Result<CopiedTable> read_copied_table(const std::vector<MountLine>& lines, const Fd& proc);

}  // namespace ncr::mount_namespace
