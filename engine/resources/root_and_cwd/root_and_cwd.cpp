// Where a process's paths begin (fs_struct): its working directory, and its root if it has changed
// it. /proc/PID/cwd and root are links whose text is a path in the process's mount namespace, with
// " (deleted)" behind it if the directory is gone, and "(unreachable)" before it if it lies outside
// the engine's own root. A removed working directory is made again for a moment: nothing can be in
// it. look runs in the engine, restore in the child; the root is changed by the restorer.
#include "engine/resources/root_and_cwd/root_and_cwd.h"

#include <sys/stat.h>
#include <unistd.h>

#include <string_view>

#include "engine/base/deleted_mark.h"
#include "engine/resources/file_restorer.h"
#include "engine/resources/missing_folders.h"
#include "engine/resources/proc_file/proc_file.h"
#include "engine/resources/room.h"

namespace ncr::root_and_cwd {
namespace {

constexpr const char* kUnreachable = "(unreachable)";

void read_ahead(const Task& task) {
  (void)task.proc_link("cwd");
  (void)task.proc_link("root");
}

// A directory may be called "x (deleted)"; one without links is deleted.
Result<bool> is_deleted(const Task& task, const char* link) {
  std::string_view path = *TRY(task.proc_link(link));
  if (!drop_deleted_mark(&path)) return false;
  struct stat status {};
  TRY(SYSCALL(::fstatat(task.proc.get(), link, &status, 0), "stat /proc/%d/%s", task.pid, link));
  return status.st_nlink == 0;
}

Result<> preflight(const Task& task, Blockers& blockers) {
  const std::string& cwd = *TRY(task.proc_link("cwd"));
  const std::string& root = *TRY(task.proc_link("root"));
  if (cwd.starts_with(kUnreachable))
    blockers.add(task, "working directory " + cwd,
                 "it is not in the mount namespace of this process");
  if (root.starts_with(kUnreachable))
    blockers.add(task, "root directory " + root,
                 "it is not in the mount namespace of this process");
  bool root_is_gone = TRY(is_deleted(task, "root"));
  if (root_is_gone) blockers.add(task, "root directory " + root, "it was removed");
  return {};
}

Result<> look(const Task& task, schema::Task* record) {
  record->mutable_fs()->set_cwd(*TRY(task.proc_link("cwd")));
  record->mutable_fs()->set_root(*TRY(task.proc_link("root")));
  return {};
}

// The root is the process's: its first thread changes it for all.
Result<> plan_thread(const schema::Task& task, const schema::Thread& thread, StepList& steps) {
  const std::string& root = task.fs().root();
  if (root.empty() || root == "/" || thread.tid() != task.threads(0).tid()) return {};
  ChangeRoot step{static_cast<uint32_t>(root.size() + 1), 0};
  steps.add(wire::Stage::kCredentials, step, root + '\0');
  return {};
}

Result<> enter_removed(const std::string& path) {
  MissingFolders folders = TRY(MissingFolders::above(path));
  std::string name = path;
  Result<int> made = SYSCALL(::mkdir(name.c_str(), 0755), "mkdir %s", name.c_str());
  if (!made.ok() && made.error().os_error() == EEXIST) {
    name = strf("%s.nativecr-%d", path.c_str(), ::getpid());
    made = SYSCALL(::mkdir(name.c_str(), 0755), "mkdir %s", name.c_str());
  }
  TRY(std::move(made));
  Result<int> entered = SYSCALL(::chdir(name.c_str()), "chdir %s", name.c_str());
  TRY(SYSCALL(::rmdir(name.c_str()), "rmdir %s", name.c_str()));
  TRY(std::move(entered));
  return {};
}

// A descriptor of the task for the removed directory `path`; -1 if it has none.
Result<int> opened_here(const ChildTask& child, const std::string& path) {
  if (child.files == nullptr) return -1;
  for (const schema::Descriptor& descriptor : child.record.descriptors()) {
    const schema::OpenFile* file = child.files->record(descriptor.file_id());
    if (file != nullptr && file->regular_file().has_ghost() &&
        S_ISDIR(file->regular_file().mode()) && file->regular_file().path() == path)
      return child.files->opened(descriptor.file_id());
  }
  return -1;
}

Result<> restore(const ChildTask& child) {
  if (!child.record.has_fs()) return {};
  const std::string& cwd = child.record.fs().cwd();
  Result<int> entered = SYSCALL(::chdir(cwd.c_str()), "enter the working directory %s of task %d",
                                cwd.c_str(), child.record.pid());
  std::string path = cwd;
  if (!entered.ok() && entered.error().os_error() == ENOENT && drop_deleted_mark(&path)) {
    if (const pid_t pid = proc_file::process_in(path); pid != 0)
      return proc_file::with_process(pid, [&path]() -> Result<> {
        TRY(SYSCALL(::chdir(path.c_str()), "enter %s of a process that is gone", path.c_str()));
        return {};
      });
    const int opened = TRY(opened_here(child, path));
    if (opened < 0) return enter_removed(path);
    entered = SYSCALL(::fchdir(opened), "enter the removed directory %s", path.c_str());
  }
  TRY(std::move(entered));
  return {};
}

}  // namespace

extern const TaskRoom kRoom = {.name = "root_and_cwd",
                               .read_ahead = read_ahead,
                               .preflight = preflight,
                               .look = look,
                               .plan_thread = plan_thread,
                               .restore = restore};

}  // namespace ncr::root_and_cwd
