// A procfs resolves "self" by the caller, in the pid namespace that it shows, whatever mount
// namespace the caller is in (fs/proc/self.c).
#include "engine/base/procfs.h"

#include <unistd.h>

namespace ncr::procfs {
namespace {

// Of a process, as its root and working directory are. Invalid: /proc.
Fd& directory() {
  static Fd kept;
  return kept;
}

}  // namespace

void look_through(Fd kept) { directory() = std::move(kept); }
int looked_through() { return directory().get(); }

Place at(const std::string& below) {
  return {directory().get(), directory().valid() ? below : "/proc/" + below};
}

Result<Fd> open(const std::string& below, int flags) {
  return sys::open_at(directory(), at(below).path.c_str(), flags);
}

Result<std::string> read_file(const std::string& below) {
  return sys::read_file_at(directory(), at(below).path.c_str());
}

Result<std::string> read_link(const std::string& below) {
  return sys::read_link_at(directory(), at(below).path.c_str());
}

Result<std::string> path_from_here(const std::string& below) {
  if (directory().valid())
    TRY(SYSCALL(::fchdir(directory().get()), "enter the procfs of whoever restores"));
  return at(below).path;
}

}  // namespace ncr::procfs
