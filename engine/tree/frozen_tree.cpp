// engine: stops a process tree as one thing. A tree stands still when every thread of every process
// in it is in a ptrace stop; only then can no new process or thread appear in it. Nobody tells us
// the members of a tree, and it changes while we look. So: look at everybody before anything is
// stopped, seize and interrupt all that are known (all first, then wait, so that they stop at the
// same time), then ask whether anything was born since before the look. If so, look again. With all
// known tasks stopped, a look that finds nothing new is final. What takes time (reading /proc,
// opening pidfds) is done before the first stop, as far as it can be. A task in an uninterruptible
// sleep (a vfork parent whose child we just stopped) cannot be stopped nor let go: it stays
// interrupted while all others run again, until it stops or the timeout ends. A process that forks
// and exits faster than we can look may keep ahead of us; request.freeze_cgroup is for that.
#include "engine/tree/frozen_tree.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <map>
#include <optional>
#include <set>

#include "engine/base/parallel.h"
#include "engine/base/phase_clock.h"
#include "engine/base/quiet_thread.h"
#include "engine/base/turns.h"
#include "engine/tree/cgroup_freezer.h"
#include "engine/tree/process_table.h"

namespace ncr {
namespace {

constexpr uint64_t kMillisecond = 1'000'000;
constexpr uint64_t kPatience = 100 * kMillisecond;
constexpr uint64_t kDeathPatience = 10'000 * kMillisecond;

std::string first_line(const std::string& path) {
  Result<std::string> text = sys::read_file(path.c_str());
  return text.ok() ? text.value().substr(0, text.value().find('\n')) : std::string();
}

std::string who(const Task& task) { return strf("task %d (%s)", task.pid, task.comm.c_str()); }

// What keeps a thread from stopping, for people.
std::string describe_stuck(const Task& task, pid_t tid) {
  const std::string folder = strf("/proc/%d/task/%d/", task.pid, tid);
  Result<std::string> text = sys::read_file((folder + "stat").c_str());
  Result<proc::Stat> stat =
      text.ok() ? proc::parse_stat(text.value()) : Result<proc::Stat>(text.take_error());
  std::string where = first_line(folder + "wchan");
  if (where.empty() || where == "0") where = first_line(folder + "stack");
  return strf("%s: thread %d is in state %c and waits in %s", who(task).c_str(), tid,
              stat.ok() ? stat.value().state : '?',
              where.empty() ? "an unknown place" : where.c_str());
}

Result<> send_signal(const Task& task, int signal) {
  TRY(SYSCALL(::syscall(SYS_pidfd_send_signal, task.pidfd.get(), signal, nullptr, 0),
              "send signal %d to %s", signal, who(task).c_str()));
  return {};
}

bool seized(const Task& task, pid_t tid) {
  return std::any_of(task.threads.begin(), task.threads.end(),
                     [tid](const SeizedThread& thread) { return thread.tid() == tid; });
}

}  // namespace

struct FrozenTree::Impl {
  explicit Impl(const DumpRequest& of)
      : request(of), threads(worker_threads(of.threads)), table(threads) {}
  ~Impl() { (void)let_go(); }

  Result<> stop_everything();
  Result<> look();
  bool all_known() const;
  Result<> freeze();
  Result<bool> stop_known();
  Result<> give_way();
  Result<> release_stopped();
  Result<> adopt(const std::vector<const proc::Stat*>& members);
  Result<Task> open_task(const proc::Stat& stat) const;
  Result<> seize_threads(Task& task, const std::vector<pid_t>& tids) const;
  Result<> seize_new_threads();
  Result<bool> wait_stops(uint64_t patience);
  Result<size_t> poll_stops();
  Result<bool> refresh();
  void forget_reaped();
  Result<> describe_tasks();
  Result<> check_members() const;
  Result<> interrupt_new();
  Result<> let_go();
  Result<> kill_all();
  Result<> wait_deaths();

  DumpRequest request;
  const unsigned threads;  // that share what is done for every task
  uint64_t deadline = 0;
  uint64_t since = 0;
  std::optional<CgroupFreezer> cgroup;
  ProcessTable table;
  std::vector<Task> tasks;
  std::map<pid_t, size_t> index;  // of tasks, while the tree is being collected
  std::set<pid_t> listed;         // tasks whose threads were seized at least once
  bool someone_vanished = false;  // since the last look
  std::pair<pid_t, pid_t> stuck;  // task and thread that we last waited for
};

Result<Task> FrozenTree::Impl::open_task(const proc::Stat& stat) const {
  Task task;
  task.pid = stat.pid;
  task.comm = stat.comm;
  task.pidfd = TRY(sys::pidfd_open(stat.pid));
  task.proc = TRY(sys::open(strf("/proc/%d", stat.pid).c_str(), O_PATH | O_DIRECTORY));
  return task;
}

// Opens what is new in the tree. If a task exited meanwhile, the next look says who has its
// children.
Result<> FrozenTree::Impl::adopt(const std::vector<const proc::Stat*>& members) {
  std::vector<const proc::Stat*> unknown;
  for (const proc::Stat* stat : members)
    if (!index.contains(stat->pid)) unknown.push_back(stat);
  std::vector<std::optional<Result<Task>>> opened(unknown.size());
  TRY(in_parallel(unknown.size(), threads, [&](size_t i) -> Result<> {
    opened[i].emplace(open_task(*unknown[i]));
    return {};
  }));
  for (std::optional<Result<Task>>& one : opened) {
    Result<Task>& task = *one;
    if (!task.ok()) {
      if (task.error().code() == ErrorCode::kGone || task.error().os_error() == ENOENT) {
        someone_vanished = true;
        continue;
      }
      if (task.error().os_error() == EMFILE)
        return task.take_error().while_doing(
            "a large tree takes two descriptors for every task: raise RLIMIT_NOFILE");
      return task.take_error();
    }
    index[task.value().pid] = tasks.size();
    tasks.push_back(task.take());
  }
  return {};
}

Result<> FrozenTree::Impl::check_members() const {
  if (index.contains(::getpid()))
    return Error::usage(
        strf("the tree of task %d contains the process that dumps it; run it from elsewhere",
             request.pid));
  return {};
}

Result<> FrozenTree::Impl::seize_threads(Task& task, const std::vector<pid_t>& tids) const {
  for (pid_t tid : tids) {
    if (seized(task, tid)) continue;
    Result<SeizedThread> thread = SeizedThread::seize(tid);
    if (thread.ok())
      task.threads.push_back(thread.take());
    else if (thread.error().code() != ErrorCode::kGone)
      return thread.take_error();
  }
  return {};
}

// Seizes the threads of tasks that are new, or that have more threads than we hold.
Result<> FrozenTree::Impl::seize_new_threads() {
  for (Task& task : tasks) {
    auto found = table.stats().find(task.pid);
    if (found == table.stats().end()) continue;
    const proc::Stat& stat = found->second;
    const bool first = listed.insert(task.pid).second;
    const size_t expected = static_cast<size_t>(stat.threads);
    if (stat.dead() && stat.threads <= 1) continue;
    if (!first && task.threads.size() + (stat.dead() ? 1 : 0) >= expected) continue;
    std::vector<pid_t> tids{task.pid};
    if (!first || stat.threads != 1) {
      Result<std::vector<pid_t>> listing = sys::numbered_entries(task.proc, "task");
      if (!listing.ok()) continue;
      tids = listing.take();
    }
    TRY(seize_threads(task, tids));
  }
  return {};
}

Result<> FrozenTree::Impl::interrupt_new() {
  if (since == 0) since = monotonic_ns();
  for (Task& task : tasks) {
    Result<> failure;
    std::erase_if(task.threads, [&](SeizedThread& thread) {
      if (thread.stopped()) return false;
      Result<> sent = thread.interrupt();
      if (!sent.ok() && sent.error().code() != ErrorCode::kGone) failure = sent.take_error();
      return !sent.ok();
    });
    if (!failure.ok()) return failure.take_error();
  }
  return {};
}

// How many threads are not stopped yet; those that exited are dropped.
Result<size_t> FrozenTree::Impl::poll_stops() {
  size_t running = 0;
  for (Task& task : tasks) {
    Result<> failure;
    std::erase_if(task.threads, [&](SeizedThread& thread) {
      if (thread.stopped()) return false;
      const pid_t tid = thread.tid();
      Result<bool> stopped = thread.poll_stop();
      if (stopped.ok() && stopped.value()) return false;
      if (stopped.ok() && running++ == 0) stuck = {task.pid, tid};
      if (!stopped.ok() && stopped.error().code() != ErrorCode::kGone)
        failure = stopped.take_error();
      return !stopped.ok();
    });
    if (!failure.ok()) return failure.take_error();
  }
  return running;
}

// False if no thread has stopped for as long as our patience lasts.
Result<bool> FrozenTree::Impl::wait_stops(uint64_t patience) {
  uint64_t last_progress = monotonic_ns();
  size_t running_before = 0;
  for (Patience pause;; pause.wait()) {
    size_t running = TRY(poll_stops());
    if (running == 0) return true;
    const uint64_t now = monotonic_ns();
    if (running != running_before) {
      last_progress = now;
      pause = {};
    }
    running_before = running;
    if (now - last_progress > patience || now > deadline) return false;
    if (request.callbacks.cancelled && request.callbacks.cancelled())
      return Error(ErrorCode::kCancelled, "cancelled while freezing");
  }
}

// Every task as it is now that all known threads are stopped. False if there are threads that we do
// not hold.
Result<bool> FrozenTree::Impl::refresh() {
  bool complete = true;
  TRY(in_parallel(tasks.size(), threads, [this](size_t i) -> Result<> {
    tasks[i].snapshot = {};
    (void)tasks[i].stat();
    return {};
  }));
  for (Task& task : tasks) {
    Result<const proc::Stat*> read = task.stat();
    if (!read.ok()) {  // reaped meanwhile
      table.erase(task.pid);
      task.pid = 0;
      complete = false;  // who was read before may have been its child
      continue;
    }
    const proc::Stat& stat = *read.value();
    table.update(stat);
    const size_t held = task.threads.size();
    const size_t expected = static_cast<size_t>(std::max(stat.threads, stat.dead() ? 1 : 0));
    if (held + (stat.dead() ? 1 : 0) < expected || (held == 0 && !stat.dead())) complete = false;
  }
  forget_reaped();
  return complete;
}

void FrozenTree::Impl::forget_reaped() {
  if (std::erase_if(tasks, [](const Task& task) { return task.pid == 0; }) == 0) return;
  index.clear();
  for (size_t i = 0; i < tasks.size(); i++) index[tasks[i].pid] = i;
}

// Puts the tasks in order, drops those that are no members any more, and fills in what is known of
// them.
Result<> FrozenTree::Impl::describe_tasks() {
  std::vector<Task> ordered;
  for (const proc::Stat* stat : tree_below(table.stats(), request.pid)) {
    auto found = index.find(stat->pid);
    if (found == index.end()) continue;
    Task task = std::move(tasks[found->second]);
    task.ppid = stat->ppid;
    task.pgid = stat->pgid;
    task.sid = stat->sid;
    task.comm = stat->comm;
    if (task.threads.empty()) {
      task.state = schema::TASK_ZOMBIE;
      task.exit_status = stat->exit_code;
    }
    for (const SeizedThread& thread : task.threads)
      if (thread.stop_signal() != 0) task.stop_signal = thread.stop_signal();
    if (task.stop_signal != 0) task.state = schema::TASK_STOPPED;
    auto leader =
        std::find_if(task.threads.begin(), task.threads.end(),
                     [&](const SeizedThread& thread) { return thread.tid() == task.pid; });
    if (leader != task.threads.end()) std::rotate(task.threads.begin(), leader, leader + 1);
    ordered.push_back(std::move(task));
  }
  tasks = std::move(ordered);
  index.clear();
  if (tasks.empty()) return Error::gone(strf("process %d is gone", request.pid));
  if (!tasks.front().alive())
    return Error::gone(strf("%s has exited and only waits for its parent to collect it",
                            who(tasks.front()).c_str()));
  return {};
}

// One look at who is in the tree, and everything known of it stopped. False if somebody cannot be
// stopped now.
Result<bool> FrozenTree::Impl::stop_known() {
  TRY(adopt(tree_below(table.stats(), request.pid)));
  TRY(check_members());
  if (tasks.empty()) return Error::gone(strf("process %d does not exist", request.pid));
  TRY(seize_new_threads());
  TRY(interrupt_new());
  if (cgroup) TRY(cgroup->thaw());
  return wait_stops(kPatience);
}

// Those that stopped run again, those that did not are waited for: a vfork parent stops as soon as
// its child, which runs again, has let it go.
Result<> FrozenTree::Impl::give_way() {
  const auto found = index.find(stuck.first);
  const std::string reason =
      found == index.end() ? "" : describe_stuck(tasks[found->second], stuck.second);
  request.callbacks.log.debug("freeze: %s; the others run until it can be stopped", reason.c_str());
  TRY(release_stopped());
  const uint64_t now = monotonic_ns();
  const bool stopped = TRY(wait_stops(deadline > now ? deadline - now : 0));
  if (stopped) return {};
  return Error::system(ETIMEDOUT, strf("could not stop the tree within %u ms: %s",
                                       request.freeze_timeout_ms, reason.c_str()));
}

Result<> FrozenTree::Impl::stop_everything() {
  if (cgroup) {
    since = monotonic_ns();
    TRY(cgroup->freeze(deadline));
  }
  pid_t last_pid = TRY(read_last_pid());
  TRY(look());
  for (;;) {
    const bool stopped = TRY(stop_known());
    if (!stopped) TRY(give_way());
    const bool complete = TRY(refresh()) && stopped;
    const pid_t now = TRY(read_last_pid());
    const bool looked = TRY(table.scan_pids(last_pid, now));
    if (!looked || someone_vanished) TRY(look());
    last_pid = now;
    if (complete && all_known()) return {};
    if (monotonic_ns() > deadline)
      return Error::system(ETIMEDOUT,
                           strf("could not stop the tree within %u ms: new processes and threads "
                                "keep appearing; freeze_cgroup holds them still",
                                request.freeze_timeout_ms));
  }
}

// A look at everybody. The children of one that exits meanwhile are looked at again.
Result<> FrozenTree::Impl::look() {
  someone_vanished = false;
  TRY(table.scan());
  for (int tries = 0; table.erase_orphans() && tries < 10; tries++) TRY(table.scan());
  return {};
}

bool FrozenTree::Impl::all_known() const {
  const std::vector<const proc::Stat*> members = tree_below(table.stats(), request.pid);
  return std::all_of(members.begin(), members.end(),
                     [this](const proc::Stat* stat) { return index.contains(stat->pid); });
}

Result<> FrozenTree::Impl::freeze() {
  deadline = monotonic_ns() + request.freeze_timeout_ms * kMillisecond;
  if (!request.freeze_cgroup.empty())
    cgroup.emplace(TRY(CgroupFreezer::open(request.freeze_cgroup)));
  TRY(stop_everything());
  return describe_tasks();
}

Result<> FrozenTree::Impl::release_stopped() {
  Result<> outcome;
  for (Task& task : tasks)
    std::erase_if(task.threads, [&](SeizedThread& thread) {
      if (!thread.stopped()) return false;
      Result<> detached = thread.detach();
      if (!detached.ok() && detached.error().code() != ErrorCode::kGone && outcome.ok())
        outcome = detached.take_error().while_doing(who(task));
      return true;
    });
  return outcome;
}

// Those that stand go on first: a thread that does not stop may be waiting for one of them.
Result<> FrozenTree::Impl::let_go() {
  Result<> put_back = cgroup ? cgroup->put_back() : Result<>();
  Result<> released = release_stopped();
  tasks.clear();
  index.clear();
  listed.clear();
  table = ProcessTable(threads);
  since = 0;
  return put_back.ok() ? std::move(released) : std::move(put_back);
}

Result<> FrozenTree::Impl::kill_all() {
  for (auto task = tasks.rbegin(); task != tasks.rend(); ++task) {
    if (!task->alive()) continue;
    Result<> sent = send_signal(*task, SIGKILL);
    if (!sent.ok() && sent.error().os_error() != ESRCH) return sent;
  }
  return wait_deaths();
}

Result<> FrozenTree::Impl::wait_deaths() {
  const uint64_t until = monotonic_ns() + kDeathPatience;
  for (Patience pause;; pause.wait()) {
    const Task* alive = nullptr;
    for (Task& task : tasks) {
      Result<> failure;
      std::erase_if(task.threads, [&](SeizedThread& thread) {
        Result<bool> gone = thread.poll_exit();
        if (!gone.ok()) failure = gone.take_error();
        return gone.ok() && gone.value();
      });
      if (!failure.ok()) return failure.take_error();
      if (!task.threads.empty()) alive = &task;
    }
    if (alive == nullptr) return {};
    if (monotonic_ns() > until)
      return Error::system(ETIMEDOUT,
                           strf("%s was killed and does not die: %s", who(*alive).c_str(),
                                describe_stuck(*alive, alive->threads.front().tid()).c_str()));
  }
}

FrozenTree::FrozenTree(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
FrozenTree::FrozenTree(FrozenTree&&) noexcept = default;
FrozenTree::~FrozenTree() = default;

Result<FrozenTree> FrozenTree::freeze(const DumpRequest& request) {
  auto impl = std::make_unique<Impl>(request);
  TRY_WHILE(impl->freeze(), "freeze the tree of task %d", request.pid);
  return FrozenTree(std::move(impl));
}

std::vector<Task>& FrozenTree::tasks() { return impl_->tasks; }
const std::vector<Task>& FrozenTree::tasks() const { return impl_->tasks; }
uint64_t FrozenTree::frozen_since_ns() const { return impl_->since; }

Result<uint64_t> FrozenTree::finish(FinalState state) {
  const uint64_t since = impl_->since;
  if (state == FinalState::kKill) TRY(impl_->kill_all());
  if (state == FinalState::kStop)
    for (const Task& task : impl_->tasks)
      if (task.alive()) TRY(send_signal(task, SIGSTOP));
  TRY(impl_->let_go());
  return monotonic_ns() - since;
}

}  // namespace ncr
