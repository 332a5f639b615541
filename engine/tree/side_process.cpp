// Mostly of no signal at its end, so that nothing of it stays pending in a task; it dies with who
// started it. How its work went it tells on a pipe, whose other end is still open where the table
// is shared: it is read when the process is gone.
#include "engine/tree/side_process.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <string>
#include <utility>

#include "engine/base/sys.h"

namespace ncr {
namespace {

constexpr size_t kMostText = 2048;

[[noreturn]] void do_work(const std::function<Result<>()>& work, const Fd& tell) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  Result<> done = work();
  if (done.ok()) ::_exit(0);
  const std::string text = done.error().text().substr(0, kMostText);
  (void)sys::write_all(tell, text.data(), text.size());
  ::_exit(1 + static_cast<int>(done.error().code()));
}

}  // namespace

Result<SideProcess> SideProcess::start(Table table, const std::function<Result<>()>& work,
                                       End end) {
  int ends[2];
  TRY(SYSCALL(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), "pipe2"));
  Fd outcome(ends[0]);
  Fd tell(ends[1]);
  clone_args args{};
  args.flags = table == Table::kShared ? CLONE_FILES : 0;
  args.exit_signal = end == End::kSignal ? SIGCHLD : 0;
  const auto pid =
      static_cast<pid_t>(TRY(SYSCALL(::syscall(SYS_clone3, &args, sizeof args), "clone3")));
  if (pid == 0) do_work(work, tell);
  return SideProcess(std::move(outcome), std::move(tell), pid);
}

SideProcess::SideProcess(SideProcess&& other) noexcept

    : outcome_(std::move(other.outcome_)),
      tell_(std::move(other.tell_)),
      pid_(std::exchange(other.pid_, 0)) {}

SideProcess::~SideProcess() {
  if (pid_ == 0) return;
  ::kill(pid_, SIGKILL);
  (void)SYSCALL(::waitpid(pid_, nullptr, __WALL), "waitpid");
}

Result<> SideProcess::finish() {
  int status = 0;
  TRY(SYSCALL(::waitpid(std::exchange(pid_, 0), &status, __WALL), "waitpid"));
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  if (!WIFEXITED(status)) return Error::system(ECHILD, "a process that was to help was killed");
  char text[kMostText];
  Result<ssize_t> size = SYSCALL(::read(outcome_.get(), text, sizeof text), "read");
  return Error(static_cast<ErrorCode>(WEXITSTATUS(status) - 1),
               std::string(text, size.ok() ? static_cast<size_t>(size.value()) : 0));
}

Result<> beside(const std::function<Result<>()>& work) {
  return TRY(SideProcess::start(SideProcess::Table::kShared, work)).finish();
}

}  // namespace ncr
