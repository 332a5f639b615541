// A file of procfs below /proc/N shows process N as long as it exists, and nothing after that:
// reads fail, though the number may be another process's by then. The path tells the number, as the
// tree's own /proc counts. Such a file can be opened when process N is there, so each task opens
// its own when the tree is complete; for a process that is gone one of its number is made, and ends
// at once. recognises and dump run in the engine, open_late in the child.
#include "engine/resources/proc_file/proc_file.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <charconv>
#include <csignal>

#include "engine/base/deleted_mark.h"
#include "engine/base/undo.h"
#include "engine/resources/file_restorer.h"
#include "engine/resources/room.h"
#include "engine/resources/status_flags.h"
#include "engine/resources/unsupported.h"

namespace ncr::proc_file {
namespace {

constexpr std::string_view kProc = "/proc/";

bool recognises(const FdProbe& probe) {
  if (probe.task == nullptr || process_in(probe.link) == 0) return false;
  if (!S_ISREG(probe.stat.st_mode) && !S_ISDIR(probe.stat.st_mode)) return false;
  Result<int64_t> file_system = file_system_of(probe.local);
  return file_system.ok() && file_system.value() == PROC_SUPER_MAGIC;
}

Result<> dump(FileTable&, const FdProbe& probe, schema::OpenFile* record) {
  schema::ProcFile* file = record->mutable_proc_file();
  file->set_gone(!probe.is_at(probe.link));
  file->set_path(probe.link);
  drop_deleted_mark(file->mutable_path());
  file->set_pid(process_in(probe.link));
  file->set_position(probe.position);
  return {};
}

Result<Fd> open_late(FileRestorer&, const schema::OpenFile& record) {
  const schema::ProcFile& file = record.proc_file();
  const int flags = open_flags(record.flags()) | O_NOCTTY;
  Fd fd;
  auto open = [&]() -> Result<> {
    fd = TRY(sys::open(file.path().c_str(), flags));
    return {};
  };
  TRY(file.gone() ? with_process(file.pid(), open) : open());
  if ((record.flags() & O_PATH) != 0) return fd;
  if (file.position() != 0)
    (void)SYSCALL(::lseek(fd.get(), static_cast<off_t>(file.position()), SEEK_SET), "lseek").ok();
  TRY(set_status_flags(fd, record.flags()));
  return fd;
}

}  // namespace

pid_t process_in(const std::string& path) {
  if (!path.starts_with(kProc)) return 0;
  std::string_view name = path;
  drop_deleted_mark(&name);
  const char* first = name.data() + kProc.size();
  const char* last = name.data() + name.size();
  pid_t pid = 0;
  auto [end, error] = std::from_chars(first, last, pid);
  return error == std::errc() && (end == last || *end == '/') ? pid : 0;
}

Result<> with_process(pid_t pid, const std::function<Result<>()>& use) {
  clone_args args{};
  args.set_tid = reinterpret_cast<uint64_t>(&pid);
  args.set_tid_size = 1;
  const long child =
      TRY(SYSCALL(::syscall(SYS_clone3, &args, sizeof args),
                  "make a process %d to be gone (is the number another's now?)", pid));
  if (child == 0)
    for (;;) ::pause();
  Undo end([pid] {
    ::kill(pid, SIGKILL);
    (void)SYSCALL(::waitpid(pid, nullptr, __WALL), "waitpid").ok();
  });
  return use();
}

extern const FdRoom kRoom = {.name = "proc_file",
                             .kind = schema::OpenFile::kProcFile,
                             .recognises = recognises,
                             .dump = dump,
                             .open_late = open_late};

}  // namespace ncr::proc_file
