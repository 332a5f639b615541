// Where a process's paths begin (fs_struct): its working directory, and its root if it has changed
// it. /proc/PID/cwd and root are links whose text is a path in the engine's view, with " (deleted)"
// behind it if the directory is gone, and "(unreachable)" before it if it lies outside.
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "engine/resources/room.h"

namespace ncr::root_and_cwd {
namespace {

constexpr const char* kDeleted = " (deleted)";
constexpr const char* kUnreachable = "(unreachable)";

// A directory may be called "x (deleted)"; one without links is deleted.
Result<bool> is_deleted(const Task& task, const std::string& path) {
  if (!path.ends_with(kDeleted)) return false;
  struct stat status {};
  TRY(SYSCALL(::fstatat(task.proc.get(), "cwd", &status, 0), "stat /proc/%d/cwd", task.pid));
  return status.st_nlink == 0;
}

Result<> preflight(const Task& task, Blockers& blockers) {
  const std::string& cwd = *TRY(task.proc_link("cwd"));
  bool deleted = TRY(is_deleted(task, cwd));
  if (deleted)
    blockers.add(task, "working directory " + cwd, "it was removed",
                 "make it again, or let the program change its directory");
  if (cwd.starts_with(kUnreachable))
    blockers.add(task, "working directory " + cwd, "it lies outside the root of this process");
  const std::string& root = *TRY(task.proc_link("root"));
  if (root != "/") blockers.add(task, "root directory " + root, "a changed root is not supported");
  return {};
}

Result<> look(const Task& task, schema::Task* record) {
  const std::string* cwd = TRY(task.proc_link("cwd"));
  record->mutable_fs()->set_cwd(*cwd);
  record->mutable_fs()->set_root("/");
  return {};
}

Result<> restore(const ChildTask& child) {
  if (!child.record.has_fs()) return {};
  const std::string& cwd = child.record.fs().cwd();
  TRY(SYSCALL(::chdir(cwd.c_str()), "enter the working directory %s of task %d", cwd.c_str(),
              child.record.pid()));
  return {};
}

}  // namespace

extern const TaskRoom kRoom = {
    .name = "root_and_cwd", .preflight = preflight, .look = look, .restore = restore};

}  // namespace ncr::root_and_cwd
