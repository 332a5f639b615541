// Files that no path leads to any more, because another mount stands in the way.
#pragma once

#include "engine/resources/room.h"

namespace ncr::regular_file {

// Notes the mount that `path` is on and where it is below that, if what the path leads to now is on
// another one. `path`: of the file, or of the folder of an unlinked one.
bool find_hidden(const FdProbe& probe, const std::string& path, schema::RegularFile* file);
// An O_PATH descriptor of what was noted.
Result<Fd> open_hidden(FileRestorer& files, const schema::OpenFile& record);
Result<Fd> reopen_hidden(FileRestorer& files, const schema::OpenFile& record, int flags);

}  // namespace ncr::regular_file
