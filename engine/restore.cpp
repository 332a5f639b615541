// STORY 2: from an image to a running tree. The caller reads and plans; the coordinator, a fork of
// it, makes the tree (each task from engine/tree/birth.cpp on in its own process); the restorer is
// the last code of ours in a task (restorer/main.cpp).
#include "engine/request.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <unordered_set>

#include "engine/base/phase_clock.h"
#include "engine/base/sys.h"
#include "engine/base/undo.h"
#include "engine/image/cpu.h"
#include "engine/lazy_pages.h"
#include "engine/memory/lazy_handover.h"
#include "engine/memory/lazy_ranges.h"
#include "engine/memory/restorer_launch.h"
#include "engine/memory/staged_memory.h"
#include "engine/resources/aio_ring/aio_settle.h"
#include "engine/resources/cgroup/cgroup_restore.h"
#include "engine/resources/credentials/own_capabilities.h"
#include "engine/resources/file_restorer.h"
#include "engine/resources/lsm/lsm.h"
#include "engine/resources/shared_memory/shared_memory.h"
#include "engine/resources/sysv_shm/sysv_shm.h"
#include "engine/resources/tcp_socket/revival.h"
#include "engine/resources/tty/orphan_terminals.h"
#include "engine/resources/tun/device_desk.h"
#include "engine/restore_plan.h"
#include "engine/tree/birth.h"
#include "engine/tree/coordinator.h"
#include "engine/tree/half_tree.h"
#include "engine/tree/number_desk.h"
#include "engine/tree/pids.h"

namespace ncr {
namespace {

std::vector<uint32_t> threads_of(const RestorePlan& plan) {
  std::vector<uint32_t> threads;
  for (const TaskPlan& task : plan.tasks)
    threads.push_back(task.live() ? static_cast<uint32_t>(task.record->threads_size()) : 0);
  return threads;
}

std::vector<cgroup::BornTask> live_tasks(const RestorePlan& plan, const BirthRegister& born) {
  std::vector<cgroup::BornTask> tasks;
  for (size_t i = 0; i < plan.tasks.size(); i++)
    if (plan.tasks[i].live())
      tasks.push_back(
          {plan.tasks[i].record, born.outer(i), plan.spaces.depth(plan.tasks[i].pid_space)});
  return tasks;
}

RestoreReport report_of(const RestorePlan& plan, pid_t root, const PhaseClock& clock) {
  RestoreReport report;
  report.phases = clock.phases();
  report.root_pid = root;
  report.tasks = static_cast<uint32_t>(plan.image->tasks.size());
  for (uint32_t threads : threads_of(plan)) report.threads += threads;
  for (const auto& [pid, pages] : plan.image->task_pages)
    for (const schema::PageRun& run : pages.runs()) report.pages_restored += run.pages();
  for (const auto& [id, pages] : plan.image->shmem_pages)
    for (const schema::PageRun& run : pages.runs()) report.pages_restored += run.pages();
  return report;
}

// Descriptors of ours stand above all numbers of the image. Undone for the caller's sake when it is
// its own coordinator.
auto raise_descriptor_limit() {
  rlimit before{};
  bool known = ::getrlimit(RLIMIT_NOFILE, &before) == 0;
  rlimit raised{before.rlim_max, before.rlim_max};
  if (known) ::setrlimit(RLIMIT_NOFILE, &raised);
  return Undo([before, known] {
    if (known) ::setrlimit(RLIMIT_NOFILE, &before);
  });
}

// A user namespace in which setgroups(2) is denied keeps the groups of whoever made it, and ours
// are not the tree's. Undone as above.
auto drop_groups(const Image& image) {
  bool denied = false;
  for (const schema::Namespace& space : image.namespaces)
    denied |= space.has_user() && space.user().setgroups_denied();
  const int count = denied ? ::getgroups(0, nullptr) : 0;
  std::vector<gid_t> groups(static_cast<size_t>(std::max(count, 0)));
  const bool dropped =
      count > 0 && ::getgroups(count, groups.data()) == count && ::setgroups(0, nullptr) == 0;
  return Undo([groups = std::move(groups), dropped] {
    if (dropped) ::setgroups(groups.size(), groups.data());
  });
}

Result<> call_hook(const RestoreRequest& request, const char* name, pid_t root) {
  if (request.callbacks.hook) TRY_WHILE(request.callbacks.hook({name, root, -1}), "hook %s", name);
  return {};
}

// A tree on its way, as the coordinator's stages see it.
struct Making {
  const Nursery& nursery;
  HalfTree& tree;
  tcp_socket::Revival& connections;

  pid_t root() const { return nursery.born.outer(0); }
  SyncPage::Check check() const {
    return [this] { return tree.check(); };
  }
  // What a child says went wrong is better than that something did.
  Result<> settle(Result<> waited) const {
    if (!waited.ok()) TRY(nursery.sync.failure(*nursery.plan.image));
    return waited;
  }
};

// Between what is made and what is filled the caller may bring something of its own: a link.
Result<> settle_namespaces(const Making& making) {
  const Nursery& nursery = making.nursery;
  NamespaceSet& namespaces = nursery.namespaces;
  if (namespaces.empty()) return {};
  TRY(making.settle(nursery.sync.wait(kNamespaces, 1, making.check())));
  TRY(namespaces.bring(nursery.shared_memory, making.root()));
  TRY(namespaces.fetch_networks(making.root()));
  TRY(making.connections.lock([&](uint32_t id) { return namespaces.network(id); }));
  TRY(call_hook(nursery.request, "setup-namespaces", making.root()));
  nursery.sync.add(kNamespaces);
  TRY(making.settle(nursery.sync.wait(kNamespaces, 3, making.check())));
  return call_hook(nursery.request, "post-setup-namespaces", making.root());
}

// While the tasks wait to be adopted, they still have what they opened.
Result<> hand_over(const tty::OrphanTerminals& orphans, const RestoreRequest& request,
                   const BirthRegister& born) {
  std::vector<Fd> masters = TRY(orphans.fetch([&born](size_t task) { return born.outer(task); }));
  if (!masters.empty() && !request.callbacks.hook)
    return Error::usage(
        "a terminal's other end is to be handed over, and there is no hook that takes it");
  for (const Fd& master : masters)
    TRY_WHILE(request.callbacks.hook({"orphan-pts-master", born.outer(0), master.get()}),
              "hook orphan-pts-master");
  return {};
}

// From the clone of the root until every process of the tree is there, and ours to kill.
Result<> fork_all(const Making& making, const tty::OrphanTerminals& orphans) {
  const Nursery& nursery = making.nursery;
  if (nursery.namespaces.empty()) TRY(making.connections.lock([](uint32_t) { return Fd(); }));
  TRY(clone_root(nursery));
  TRY(making.tree.adopt(0));
  if (!nursery.namespaces.empty()) TRY(nursery.namespaces.write_id_maps(making.root()));
  nursery.sync.add(kAdopted);
  TRY(settle_namespaces(making));
  TRY(making.settle(nursery.sync.wait(kForked, nursery.counts.processes, making.check())));
  TRY(making.tree.adopt_all());
  TRY(hand_over(orphans, nursery.request, nursery.born));
  nursery.sync.add(kAdopted);
  return {};
}

// Every resource of the tree exists. What follows touches time, signals and credentials.
Result<> let_go(const Making& making, cgroup::Cgroups& cgroups, sysv_shm::Segments& segments,
                PhaseClock& clock) {
  const RestorePlan& plan = making.nursery.plan;
  const RestoreRequest& request = making.nursery.request;
  TRY(making.tree.stop_if_cancelled());
  TRY(making.tree.adopt_filtered_threads());
  clock.begin("late steps");
  making.nursery.sync.open_gate();
  TRY(making.settle(making.nursery.sync.wait_parked(making.check())));
  const std::vector<cgroup::BornTask> tasks = live_tasks(plan, making.nursery.born);
  TRY(cgroups.finish(tasks));
  segments.let_go();
  clock.begin("release");
  if (plan.lazy_socket >= 0) TRY(start_lazy_pages(plan.lazy_socket, tasks.size()));
  for (const char* hook : {"post-restore", "pre-resume", "network-unlock"})
    TRY(call_hook(request, hook, making.root()));
  TRY(making.connections.revive());
  TRY(making.tree.release(request.after));
  // ---- The tree lives by itself. ----
  cgroups.keep();
  segments.keep();
  clock.end();
  return {};
}

// Ours stand above all numbers of the image.
Result<Fd> raised(const RestorePlan& plan, int fd) {
  return Fd(
      TRY(SYSCALL(::fcntl(fd, F_DUPFD_CLOEXEC, plan.service_fd_base), "fcntl F_DUPFD_CLOEXEC")));
}

Result<Fd> open_procfs(const RestorePlan& plan) {
  Fd procfs = TRY_WHILE(sys::open("/proc", O_PATH | O_DIRECTORY), "a restore needs a procfs");
  return raised(plan, procfs.get());
}

// Runs in the coordinator. An error leaves nothing behind.
Result<RestoreReport> make_tree(RestorePlan& plan, const RestoreRequest& request,
                                const BirthRegister& born, const std::function<bool()>& cancelled,
                                PhaseClock clock) {
  clock.begin("shared memory");
  const Image& image = *plan.image;
  const int fd_base = plan.service_fd_base;
  auto limit = raise_descriptor_limit();
  auto groups = drop_groups(image);
  auto shared = TRY(SharedMemoryObjects::create(image, fd_base, request.threads));
  tcp_socket::Revival connections(plan, request);
  auto segments = TRY(sysv_shm::Segments::create(image, request.threads));
  FileRestorer files(plan, request);
  files.set_shared_memory(&shared);
  auto orphans = TRY(tty::OrphanTerminals::create());
  files.set_orphans(&orphans);
  SyncPage sync = TRY(SyncPage::create(threads_of(plan)));
  NamespaceSet namespaces = TRY(NamespaceSet::create(image, request, fd_base));
  auto devices = TRY(tun::DeviceDesk::open(image, fd_base));
  files.set_devices(&devices);
  namespaces.set_devices(&devices);
  // Declared before the tree: they are left when the tree is gone.
  auto cgroups = TRY(cgroup::Cgroups::create(image, request, fd_base));
  Fd procfs;
  if (!namespaces.empty()) {
    procfs = TRY(open_procfs(plan));
    namespaces.set_cgroups(&cgroups);
    files.set_namespaces(&namespaces);
  }
  HalfTree tree(plan, born, sync, cancelled);
  Fd lazy;
  if (plan.lazy_socket >= 0) lazy = TRY(raised(plan, plan.lazy_socket));
  plan.lazy_socket = lazy.get();
  plan.shift = TRY(choose_shift(image));
  auto desk = TRY(open_number_desk(plan, born, sync));

  clock.begin("fork and fill memory");
  Fd self = TRY(sys::pidfd_open(::getpid()));
  // A group outside has no number in the tree's own pid namespace.
  const pid_t callers_group = namespaces.renumbers() ? 0 : ::getpgrp();
  const Nursery nursery{plan,  request,          shared,        sync,
                        files, namespaces,       born,          procfs.get(),
                        self,  TreeCounts(plan), callers_group, cgroups};
  const Making making{nursery, tree, connections};
  TRY(fork_all(making, orphans));
  clock.begin("files and threads");
  TRY(making.settle(sync.wait_ready(making.check())));
  TRY(shared.seal(image));
  TRY(connections.take([&](size_t task) { return born.outer(task); }));
  TRY(namespaces.build_late(shared, making.root()));
  TRY(let_go(making, cgroups, segments, clock));
  if (!request.trace_file.empty()) (void)clock.write_trace(request.trace_file, "nativecr restore");
  return report_of(plan, making.root(), clock);
}

std::unordered_set<pid_t> numbers_of(const Image& image) {
  std::unordered_set<pid_t> numbers;
  for (const schema::Task& task : image.tasks) {
    numbers.insert({task.pid(), task.pgid(), task.sid()});
    for (const schema::Thread& thread : task.threads()) numbers.insert(thread.tid());
  }
  return numbers;
}

// A root that was made and killed again is our child, and perhaps others whose parents died. Their
// deaths come soon after the coordinator's, but are not waited for without an end.
void reap(const BirthRegister& born) {
  constexpr int kMostNaps = 1000;
  int naps = 0;
  for (size_t i = 0; i < born.count(); i++) {
    if (born.outer(i) == 0) continue;
    while (::waitpid(born.outer(i), nullptr, __WALL | WNOHANG) == 0 && naps++ < kMostNaps)
      ::usleep(1000);
  }
}

// The root becomes a child of the coordinator's parent: of ours, if the coordinator is our child;
// our sibling, if we coordinate ourselves.
Result<RestoreReport> coordinate(RestorePlan& plan, const RestoreRequest& request,
                                 const PhaseClock& clock) {
  BirthRegister born = TRY(BirthRegister::create(plan.tasks.size()));
  if (!request.root_is_sibling) {
    std::unordered_set<pid_t> taken;
    if (!plan.renumbered) taken = numbers_of(*plan.image);
    auto body = [&](const std::function<bool()>& cancelled) {
      return make_tree(plan, request, born, cancelled, clock);
    };
    Result<RestoreReport> report = run_coordinator(
        request, [&](pid_t pid) { return taken.contains(pid); }, body);
    if (!report.ok()) reap(born);
    return report;
  }
  sigset_t all, before;
  sigfillset(&all);
  TRY(SYSCALL(::sigprocmask(SIG_SETMASK, &all, &before), "sigprocmask"));
  Undo unblock([&] { ::sigprocmask(SIG_SETMASK, &before, nullptr); });
  return make_tree(plan, request, born, request.callbacks.cancelled, clock);
}

// The numbers of threads of this process; a program with several cannot coordinate itself.
Result<> check_request(const RestoreRequest& request) {
  if (!request.root_is_sibling) return {};
  std::string status = TRY(sys::read_file("/proc/self/status"));
  if (status.find("\nThreads:\t1\n") == std::string::npos)
    return Error::usage("a process with several threads cannot restore a tree as its sibling");
  return {};
}

// Whoever restores the tree is the parent of its root from now on, and may be about to end.
void warn_of_parents_end(const Image& image, const RestoreRequest& request) {
  if (request.root_is_sibling) return;
  const schema::Task& root = image.tasks.front();
  for (const schema::Thread& thread : root.threads())
    if (const int signal = thread.flags().parent_death_signal(); signal != 0) {
      request.callbacks.log.warning(
          "task %d (%s) has asked for signal %d when its parent ends, which is the process that "
          "restores it: let that live on, or have the root made its sibling (--sibling)",
          root.pid(), root.comm().c_str(), signal);
      return;
    }
}

std::string lazy_pages_socket(const RestoreRequest& request) {
  return request.lazy_pages_socket.empty() ? request.images_dir + "/" + kLazyPagesSocket
                                           : request.lazy_pages_socket;
}

}  // namespace

Result<RestoreReport> restore(const RestoreRequest& request) {
  PhaseClock clock;
  TRY(check_request(request));
  clock.begin("read image");
  Image image = TRY(Image::open(request.images_dir, PageCheck::kVerify));
  TRY(refuse_memory_only(image));
  schema::Cpu cpu = TRY(describe_this_cpu());
  TRY(check_cpu(image.inventory, cpu));
  clock.begin("plan");
  Fd lazy;
  if (request.lazy_pages) {
    lazy = TRY(greet_lazy_pages(lazy_pages_socket(request), image.inventory.uuid()));
    (void)take_lazy_pages(&image);
  }
  RestorePlan plan = TRY(plan_restore(image, request));
  plan.lazy_socket = lazy.get();
  if (!plan.renumbered) TRY(check_pids_free(plan));
  TRY(aio_ring::check_machine(image));
  TRY(lsm::check_module(image, request));
  TRY(credentials::check_capabilities(image));
  warn_of_parents_end(image, request);
  // Beyond this point processes are made; a failure takes them away again.
  RestoreReport report = TRY(coordinate(plan, request, clock));
  report.total_ns = clock.total_ns();
  return report;
}

}  // namespace ncr
