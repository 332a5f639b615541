// An unlinked file may have been in a folder that is gone as well; its path is all that tells
// where. The folders stand for a moment only, so their owner and mode do not matter. Runs in the
// child.
#include "engine/resources/missing_folders.h"

#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/sys.h"

namespace ncr {

Result<MissingFolders> MissingFolders::above(const std::string& path) {
  MissingFolders folders;
  for (size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1)) {
    const std::string folder = path.substr(0, at);
    Result<int> made = SYSCALL(::mkdir(folder.c_str(), 0700), "mkdir %s", folder.c_str());
    if (made.ok()) {
      folders.made_.push_back(folder);
      continue;
    }
    struct stat there {};
    if (::stat(folder.c_str(), &there) != 0) return made.take_error();
  }
  return folders;
}

MissingFolders::~MissingFolders() {
  while (!made_.empty()) {
    ::rmdir(made_.back().c_str());
    made_.pop_back();
  }
}

}  // namespace ncr
