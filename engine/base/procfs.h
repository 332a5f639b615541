// How a process looks into a procfs: at /proc, or through a descriptor. A task being born lives in
// the mount namespace of its tree, which need not have one; it keeps that of whoever restores.
#pragma once

#include <string>

#include "engine/base/sys.h"

namespace ncr::procfs {

// From now on this process, and what it forks, finds everything below through `directory`.
void look_through(Fd directory);
int looked_through();  // -1: /proc

// `below`: "self/fd/7".
Result<Fd> open(const std::string& below, int flags);
Result<std::string> read_file(const std::string& below);
Result<std::string> read_link(const std::string& below);

// For calls that take a directory and a path.
struct Place {
  int directory;
  std::string path;
};
Place at(const std::string& below);
// For calls that take a path alone: good until the working directory changes, which may become that
// of the procfs.
Result<std::string> path_from_here(const std::string& below);

}  // namespace ncr::procfs
