// Every live task is seized with PTRACE_O_EXITKILL as soon as it exists: when the coordinator dies
// the kernel kills what it traces (ptrace(2)), and who is not traced yet dies with its parent
// (PR_SET_PDEATHSIG, engine/tree/birth.cpp). Zombies and helpers are never traced: a tracer would
// hide their exit from their parent. Nor is a leader that is to exit before its threads: it could
// not be detached any more. Runs in the coordinator.
#include "engine/tree/half_tree.h"

#include <sys/wait.h>

#include <csignal>
#include <cstring>
#include <ctime>
#include <utility>

#include "engine/base/phase_clock.h"
#include "engine/base/sys.h"
#include "engine/resources/seccomp/seccomp_plan.h"
#include "engine/tree/release.h"

namespace ncr {
namespace {

constexpr uint64_t kCheckNs = 15'000'000;
constexpr uint64_t kPatienceNs = 300'000'000;
constexpr unsigned kChecksPerLook =
    25;  // at untraced processes, each of which costs a file of /proc

bool traceable(const TaskPlan& task) { return task.live() && !task.record->dead_leader(); }

// The state letter of /proc/PID/stat; 0 if there is no such process.
char state_of(pid_t pid) {
  Result<std::string> stat = sys::read_file(strf("/proc/%d/stat", pid).c_str());
  if (!stat.ok()) return 0;
  size_t name_end = stat.value().rfind(')');
  return name_end + 2 < stat.value().size() ? stat.value()[name_end + 2] : '\0';
}

std::string name_of(const TaskPlan& task) {
  return task.record == nullptr ? strf("helper %d", task.pid)
                                : strf("task %d (%s)", task.pid, task.record->comm().c_str());
}

Result<SeizedThread> seize(pid_t tid, const schema::Task& task) {
  Result<SeizedThread> seized = SeizedThread::seize(tid, trace_options(task));
  if (seized.ok() || seized.error().os_error() != EPERM || !seccomp::has_filters(task))
    return seized;
  return Error::unsupported(
      "it has seccomp filters, and this process cannot suspend them while it restores the rest "
      "(this needs CAP_SYS_ADMIN outside of any user namespace, and no filters on this process)");
}

}  // namespace

HalfTree::HalfTree(const RestorePlan& plan, const BirthRegister& born, SyncPage& sync,
                   std::function<bool()> cancelled)
    : plan_(&plan),
      sync_(&sync),
      cancelled_(std::move(cancelled)),
      born_(&born),
      leaders_(plan.tasks.size()) {}

HalfTree::HalfTree(HalfTree&& other) noexcept
    : plan_(other.plan_),
      sync_(other.sync_),
      cancelled_(std::move(other.cancelled_)),
      born_(std::exchange(other.born_, nullptr)),
      leaders_(std::move(other.leaders_)),
      filtered_(std::move(other.filtered_)) {}

HalfTree::~HalfTree() {
  if (born_ != nullptr) kill_all();
}

Result<> HalfTree::adopt(size_t index) {
  const TaskPlan& task = plan_->tasks[index];
  if (!traceable(task) || leaders_[index].has_value()) return {};
  leaders_[index] =
      TRY_WHILE(seize(born_->outer(index), *task.record), "restore %s", name_of(task).c_str());
  return {};
}

Result<> HalfTree::adopt_filtered_threads() {
  for (size_t i = 0; i < plan_->tasks.size(); i++) {
    const TaskPlan& task = plan_->tasks[i];
    if (!task.live() || !seccomp::has_filters(*task.record)) continue;
    filtered_[i] =
        TRY_WHILE(seize_others(task, born_->outer(i)), "restore %s", name_of(task).c_str());
  }
  return {};
}

Result<> HalfTree::adopt_all() {
  for (size_t i = 0; i < plan_->tasks.size(); i++) TRY(adopt(i));
  return {};
}

Result<> HalfTree::stop_if_cancelled() const {
  if (!cancelled_ || !cancelled_()) return {};
  return Error(ErrorCode::kCancelled, "cancelled; nothing of the tree is left");
}

Result<> HalfTree::check() {
  uint64_t now = monotonic_ns();
  if (now < next_check_ns_) return {};
  next_check_ns_ = now + kCheckNs;
  TRY(stop_if_cancelled());
  TRY(sync_->failure(*plan_->image));
  bool look = ++checks_ % kChecksPerLook == 0;
  for (size_t i = 0; i < plan_->tasks.size(); i++) {
    if (leaders_[i].has_value())
      TRY(check_traced(i));
    else if (look && born_->outer(i) != 0 && plan_->tasks[i].live())
      TRY(check_untraced(i));
  }
  return {};
}

Result<> HalfTree::check_traced(size_t index) const {
  const TaskPlan& task = plan_->tasks[index];
  siginfo_t info{};
  const pid_t pid = born_->outer(index);
  TRY(SYSCALL(::waitid(P_PID, static_cast<id_t>(pid), &info,
                       WEXITED | WSTOPPED | WNOHANG | WNOWAIT | __WALL),
              "waitid %d", pid));
  if (info.si_pid == 0) return {};
  TRY(sync_->failure(*plan_->image));  // a child that failed says so before it exits
  if (info.si_code == CLD_TRAPPED || info.si_code == CLD_STOPPED)
    return Error::system(
        EFAULT, strf("restore %s: it got signal %d (%s) while it was being made",
                     name_of(task).c_str(), info.si_status, ::strsignal(info.si_status & 0x7f)));
  return Error::gone(strf("restore %s: it died while it was being made (%s %d)",
                          name_of(task).c_str(),
                          info.si_code == CLD_EXITED ? "exit status" : "signal", info.si_status));
}

Result<> HalfTree::check_untraced(size_t index) const {
  char state = state_of(born_->outer(index));
  if (state != 0 && state != 'Z' && state != 'X') return {};
  if (plan_->tasks[index].record->dead_leader() && state == 'Z') return {};
  TRY(sync_->failure(*plan_->image));
  return Error::gone(
      strf("restore %s: it died while it was being made", name_of(plan_->tasks[index]).c_str()));
}

Result<> HalfTree::release(AfterRestore after) {
  TRY(release_tree(*plan_, *sync_, *born_, leaders_, std::move(filtered_), after));
  born_ = nullptr;
  return {};
}

// True once the process is gone, or a zombie that is not ours to reap. What we trace shows its end
// to us first, and only then to its parent.
bool HalfTree::is_over(size_t index) {
  if (born_->outer(index) <= 0) return true;
  if (auto threads = filtered_.find(index); threads != filtered_.end())
    for (SeizedThread& thread : threads->second) (void)thread.poll_exit();
  siginfo_t info{};
  if (leaders_[index].has_value()) {
    Result<int> waited = SYSCALL(::waitid(P_PID, static_cast<id_t>(born_->outer(index)), &info,
                                          WEXITED | WSTOPPED | WNOHANG | __WALL),
                                 "waitid");
    if (waited.ok() && (info.si_code == CLD_TRAPPED || info.si_code == CLD_STOPPED))
      ::kill(born_->outer(index), SIGKILL);
    if (waited.ok() && info.si_code != CLD_EXITED && info.si_code != CLD_KILLED &&
        info.si_code != CLD_DUMPED)
      return false;
  }
  char state = state_of(born_->outer(index));
  return state == 0 || state == 'X' || (state == 'Z' && (index == 0 || last_resort_));
}

// Everybody is asked to give up first, waiting for its own children, so that nobody is orphaned;
// who does not is killed.
void HalfTree::kill_all() {
  sync_->abort();
  size_t left = plan_->tasks.size();
  std::vector<bool> over(left, false);
  for (uint64_t patience = monotonic_ns() + kPatienceNs; left > 0;) {
    size_t before = left;
    for (size_t i = 0; i < over.size(); i++)
      if (!over[i] && (over[i] = is_over(i))) left--;
    if (left < before) patience = monotonic_ns() + kPatienceNs;
    if (monotonic_ns() > patience && last_resort_) return;
    if (monotonic_ns() > patience) {
      last_resort_ = true;
      patience += kPatienceNs;
      for (size_t i = 0; i < over.size(); i++)
        if (!over[i]) ::kill(born_->outer(i), SIGKILL);
    }
    timespec pause{0, 500'000};
    if (left > 0) ::nanosleep(&pause, nullptr);
  }
}

}  // namespace ncr
