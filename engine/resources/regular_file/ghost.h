// Unlinked files: their content goes into the image, and they come back as unlinked files.
#pragma once

#include "engine/resources/room.h"

namespace ncr::regular_file {

// The file behind `probe` has no name left: what it is and what it holds.
Result<> dump_ghost(FileTable& files, const FdProbe& probe, schema::OpenFile* record);
// A new, unlinked file like it; shared by all files of its group.
Result<Fd> open_ghost(FileRestorer& files, const schema::OpenFile& record);

}  // namespace ncr::regular_file
