// Files whose name is gone, and whose other names their mount does not show.
#pragma once

#include "engine/resources/room.h"

namespace ncr::regular_file {

// Whether what the path leads to is on the mount that the file was opened on.
bool is_on_its_mount(const FdProbe& probe, const std::string& path);
// Notes another name of the file (but for the id of the mount namespace it is of, *seen_by) if the
// folder of file->path() is there and can be reached on the way to it. False: there is none.
bool find_linked(const FdProbe& probe, schema::RegularFile* file, const MountView** seen_by);
Result<Fd> open_linked(FileRestorer& files, const schema::OpenFile& record, int flags);

}  // namespace ncr::regular_file
