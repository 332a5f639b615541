// Folders that are gone: what was in them can only be made again while they exist.
#pragma once

#include <string>
#include <vector>

#include "engine/base/result.h"

namespace ncr {

class MissingFolders {
 public:
  // Makes those above `path` that are not there. They go with the object, if they are empty.
  static Result<MissingFolders> above(const std::string& path);
  MissingFolders(MissingFolders&&) noexcept = default;
  MissingFolders& operator=(MissingFolders&&) = delete;
  ~MissingFolders();

 private:
  MissingFolders() = default;
  std::vector<std::string> made_;  // outermost first
};

}  // namespace ncr
