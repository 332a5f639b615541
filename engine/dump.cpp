// STORY 1: a running tree becomes an image. Runs in the engine's process, on the caller's thread
// (the tracer).

#include <algorithm>
#include <set>

#include "arch_current/extended_state.h"
#include "engine/base/parallel.h"
#include "engine/base/phase_clock.h"
#include "engine/base/turns.h"
#include "engine/base/undo.h"
#include "engine/image/cpu.h"
#include "engine/image/image_dir.h"
#include "engine/memory/memory_dump.h"
#include "engine/memory/vma_reader.h"
#include "engine/memory_writer.h"
#include "engine/page_reading.h"
#include "engine/page_server.h"
#include "engine/rehearsal.h"
#include "engine/request.h"
#include "engine/resources/aio_ring/aio_settle.h"
#include "engine/resources/cgroup/cgroup_dump.h"
#include "engine/resources/file_table.h"
#include "engine/resources/namespaces/namespace_reading.h"
#include "engine/resources/room.h"
#include "engine/resources/seccomp/filter_table.h"
#include "engine/resources/session/session.h"
#include "engine/resources/tcp_socket/connections.h"
#include "engine/tracee/parasite.h"
#include "engine/tree/frozen_tree.h"
#include "engine/tree/inner_ids.h"
#include "engine/tree/inner_pids.h"
#include "engine/tree/pid_spaces.h"

namespace ncr {
namespace {

constexpr uint64_t kStagingBytes = 32 << 20;

// What a dump gathers before it is written.
struct Gathered {
  explicit Gathered(namespaces::Links own) : namespaces(std::move(own)) {}

  namespaces::NamespaceTable namespaces;
  namespaces::NamespacePreparation prepared;
  FileTable files;
  SharedMemoryTable shared_memory;
  Connections connections;
  MemoryDump memory{files, shared_memory};
  seccomp::FilterTable filters;
  Blockers blockers;
  std::vector<schema::Task> tasks;
  cgroup::CgroupDump cgroup_dump;
  std::vector<schema::CgroupHierarchy> cgroups;
  std::vector<schema::PageMap> pages;
};

void describe(const Task& task, schema::Task* record) {
  record->set_pid(task.pid);
  record->set_ppid(task.ppid);
  record->set_pgid(task.pgid);
  record->set_sid(task.sid);
  record->set_state(task.state);
  record->set_stop_signal(task.stop_signal);
  record->set_exit_status(task.exit_status);
  record->set_comm(task.comm);
  for (const SeizedThread& thread : task.threads) record->add_threads()->set_tid(thread.tid());
}

Result<> look_at_threads(const Task& task, const TaskRoom& room, schema::Task* record) {
  if (room.look_thread == nullptr) return {};
  for (size_t i = 0; i < task.threads.size(); i++)
    TRY_WHILE(room.look_thread(task, task.threads[i], record->mutable_threads(static_cast<int>(i))),
              "%s", room.name);
  return {};
}

// On all threads: reading /proc is most of what a large tree stands still for.
Result<> read_ahead(const std::vector<Task>& tasks, unsigned threads) {
  return in_parallel(tasks.size(), threads, [&](size_t i) -> Result<> {
    if (!tasks[i].alive()) return {};
    for (const TaskRoom* room : task_rooms())
      if (room->read_ahead != nullptr) room->read_ahead(tasks[i]);
    (void)tasks[i].descriptors();
    return {};
  });
}

using VmaSource = std::function<Result<std::vector<VmaLine>>()>;

// Everything that /proc, ptrace and duplicated descriptors tell. The target is only looked at.
Result<> look_at(const Task& task, Gathered& gathered, schema::Task* record,
                 const VmaSource& vmas) {
  if (!task.alive()) return {};
  for (const TaskRoom* room : task_rooms()) {
    if (room->preflight != nullptr)
      TRY_WHILE(room->preflight(task, gathered.blockers), "%s", room->name);
    if (room->look != nullptr) TRY_WHILE(room->look(task, record), "%s", room->name);
    TRY(look_at_threads(task, *room, record));
  }
  TRY(gathered.filters.add_task(task, record, gathered.blockers));
  TRY(gathered.files.add_task(task, {}, record, &gathered.blockers));
  std::vector<VmaLine> lines = TRY(vmas());
  TRY(gathered.memory.look(task, lines, record, gathered.blockers));
  for (const TaskRoom* room : task_rooms())
    if (room->look_mapped != nullptr) TRY_WHILE(room->look_mapped(task, record), "%s", room->name);
  return {};
}

Result<KnownOfTask> known_of(const Task& task) {
  SignalUse use;
  for (const SeizedThread& thread : task.threads) use.add(TRY(task.status(thread.tid()))->status);
  return KnownOfTask{choose_stop_signal(use), task.vdso};
}

// What only the task itself can tell: the parasite asks, in the leader and then in every other
// thread.
Result<> ask(Task& task, schema::Task* record) {
  Batch leader;
  for (const TaskRoom* room : task_rooms()) {
    if (room->ask != nullptr) room->ask(task, *record, leader);
    if (room->ask_thread != nullptr) room->ask_thread(task, record->threads(0), leader);
  }
  const KnownOfTask known = TRY(known_of(task));
  Parasite parasite = TRY(Parasite::infect(task.leader(), known));
  TRY(parasite.run(leader));
  for (const TaskRoom* room : task_rooms()) {
    if (room->read != nullptr) TRY_WHILE(room->read(task, leader, record), "%s", room->name);
    if (room->read_thread != nullptr)
      TRY_WHILE(room->read_thread(task, leader, record->mutable_threads(0)), "%s", room->name);
  }
  for (size_t i = 1; i < task.threads.size(); i++) {
    Batch batch;
    schema::Thread* thread = record->mutable_threads(static_cast<int>(i));
    for (const TaskRoom* room : task_rooms())
      if (room->ask_thread != nullptr) room->ask_thread(task, *thread, batch);
    TRY_WHILE(parasite.run_in_thread(task.threads[i], batch), "thread %d", thread->tid());
    for (const TaskRoom* room : task_rooms())
      if (room->read_thread != nullptr)
        TRY_WHILE(room->read_thread(task, batch, thread), "thread %d: %s", thread->tid(),
                  room->name);
  }
  return parasite.cure();
}

// The image needs no more of a CPU than its threads have in use.
void note_cpu_use(const Gathered& gathered, schema::Cpu* cpu) {
  uint64_t components = 0;
  size_t size = 0;
  for (const schema::Task& task : gathered.tasks)
    for (const schema::Thread& thread : task.threads()) {
      components |= arch::components_in_use(thread.extended_state());
      size = std::max(size, thread.extended_state().size());
    }
  cpu->set_xsave_mask(components);
  cpu->set_xsave_size(static_cast<uint32_t>(size));
}

Result<schema::Inventory> describe_image(MemoryWriter& writer, const Gathered& gathered,
                                         const DumpRequest& request, schema::Cpu cpu) {
  schema::Inventory inventory = TRY(writer.describe(gathered.tasks.front().pid()));
  inventory.set_tasks(static_cast<uint32_t>(gathered.tasks.size()));
  inventory.set_shell_job(request.shell_job == ShellJob::kInheritTerminal);
  note_cpu_use(gathered, &cpu);
  *inventory.mutable_cpu() = std::move(cpu);
  return inventory;
}

template <class T>
std::vector<const google::protobuf::MessageLite*> pointers(const std::vector<T>& records) {
  std::vector<const google::protobuf::MessageLite*> list;
  list.reserve(records.size());
  for (const T& record : records) list.push_back(&record);
  return list;
}

// Everything but the pages and the inventory.
Result<> write_records(ImageDir& images, const Gathered& gathered,
                       const schema::ChunkTable& chunks) {
  TRY(images.write_records(kTasksFile, pointers(gathered.tasks)));
  std::vector<const google::protobuf::MessageLite*> files;
  for (const schema::OpenFile* file : gathered.files.records()) files.push_back(file);
  TRY(images.write_records(kFilesFile, files));
  TRY(images.write_records(kSharedMemoryFile, gathered.shared_memory.records()));
  if (!gathered.namespaces.records().empty())
    TRY(images.write_records(kNamespacesFile, pointers(gathered.namespaces.records())));
  if (auto filters = gathered.filters.records(); !filters.empty())
    TRY(images.write_records(kSeccompFile, filters));
  if (!gathered.cgroups.empty())
    TRY(images.write_records(kCgroupsFile, pointers(gathered.cgroups)));
  std::vector<const google::protobuf::MessageLite*> maps = {&chunks};
  for (const schema::PageMap& map : gathered.pages) maps.push_back(&map);
  for (const google::protobuf::MessageLite* map : gathered.shared_memory.page_maps())
    maps.push_back(map);
  return images.write_records(kPagemapFile, maps);
}

Result<> stop_if_cancelled(const DumpRequest& request) {
  if (request.callbacks.cancelled && request.callbacks.cancelled())
    return Error(ErrorCode::kCancelled, "cancelled; the tree runs on as it was");
  return {};
}

void report_progress(const DumpRequest& request, const char* phase, uint64_t done, uint64_t total) {
  if (request.callbacks.progress) request.callbacks.progress({phase, done, total});
}

// Once every room has had its say: docs/adr/0011, docs/adr/0017.
void number_as_inside(const InnerPids& pids, Gathered& gathered) {
  const PidSpaces spaces(gathered.namespaces.records(), gathered.tasks.front());
  for (schema::Task& task : gathered.tasks) pids.translate(&task, spaces);
  for (schema::Namespace& record : gathered.namespaces.finished_records())
    if (record.has_pid()) pids.translate(record.mutable_pid());
  for (schema::OpenFile* file : gathered.files.finished_records()) pids.translate(file);
  for (schema::PageMap& pages : gathered.pages) pids.translate(&pages);
}

// docs/adr/0018.
void identify_as_inside(Gathered& gathered) {
  const uint32_t of_root = gathered.namespaces.of(0, schema::Namespace::kUser);
  if (of_root != 0) {
    const InnerIds ids(gathered.namespaces.records()[of_root - 1].user());
    for (schema::Task& task : gathered.tasks) ids.translate(&task);
    for (schema::OpenFile* file : gathered.files.finished_records()) ids.translate(file);
    for (schema::Namespace& record : gathered.namespaces.finished_records())
      if (record.has_mnt()) ids.translate(record.mutable_mnt());
  }
  gathered.namespaces.number_users_as_above();
}

// All of it but the inventory. The tree may run by now.
Result<> write_image(MemoryWriter& writer, Gathered& gathered, const InnerPids& inner) {
  const schema::ChunkTable chunks = TRY(writer.finish());
  TRY(gathered.files.finish());
  number_as_inside(inner, gathered);
  identify_as_inside(gathered);
  return write_records(writer.images(), gathered, chunks);
}

Result<> know_mounts(const std::vector<Task>& tasks, Gathered& gathered) {
  std::set<uint32_t> known{0};
  for (size_t i = 0; i < tasks.size(); i++) {
    const uint32_t id = gathered.namespaces.of(i, schema::Namespace::kMnt);
    if (tasks[i].alive() && known.insert(id).second)
      TRY_WHILE(gathered.files.know_mounts(tasks[i], id), "mounts of task %d", tasks[i].pid);
  }
  return {};
}

// `looked` is called for each record in turn, once its VMAs are known.
Result<> look_at_tree(const FrozenTree& tree, VmaReader& vmas, Gathered& gathered,
                      const DumpRequest& request,
                      const std::function<void(schema::Task*)>& looked) {
  vmas.begin(tree.tasks());
  Undo end_reading([&] { vmas.end(); });  // the tree may be gone soon
  TRY(read_ahead(tree.tasks(), worker_threads(request.threads)));
  gathered.files.store_content_in(gathered.shared_memory);
  gathered.files.note_connections_in(gathered.connections);
  gathered.tasks.resize(tree.tasks().size());
  for (size_t i = 0; i < gathered.tasks.size(); i++) describe(tree.tasks()[i], &gathered.tasks[i]);
  gathered.tasks.front().set_ppid(0);  // whoever is the root's parent is not of the tree
  TRY(session::preflight_clones(tree.tasks(), gathered.blockers));
  TRY(gathered.cgroup_dump.look(tree.tasks(), request.cgroups, gathered.blockers));
  TRY(gathered.namespaces.look(tree.tasks(), request, gathered.blockers));
  gathered.files.set_namespaces(
      [&namespaces = gathered.namespaces](const Fd& nsfs, const std::string& where) {
        return namespaces.refer(nsfs, where);
      });
  namespaces::NamespaceReading namespaces(gathered.namespaces, tree.tasks(), request,
                                          gathered.shared_memory, gathered.prepared);
  TRY(namespaces.begin());
  TRY(know_mounts(tree.tasks(), gathered));
  for (size_t i = 0; i < gathered.tasks.size(); i++) {
    const Task& task = tree.tasks()[i];
    for (uint32_t id : gathered.namespaces.of(i)) gathered.tasks[i].add_namespaces(id);
    gathered.tasks[i].set_pid_namespace_of_children(gathered.namespaces.of_children(i));
    gathered.files.set_mount_namespace(gathered.namespaces.of(i, schema::Namespace::kMnt));
    TRY_WHILE(look_at(task, gathered, &gathered.tasks[i], [&] { return vmas.take(i); }),
              "task %d (%s)", task.pid, task.comm.c_str());
    looked(&gathered.tasks[i]);
  }
  TRY(namespaces.finish(gathered.blockers));
  TRY(gathered.cgroup_dump.finish(gathered.tasks, &gathered.cgroups));
  const PidSpaces spaces(gathered.namespaces.records(), gathered.tasks.front());
  TRY(session::preflight_tree(tree.tasks().front(), gathered.tasks, spaces, request.shell_job,
                              gathered.blockers));
  TRY(gathered.files.check(request, gathered.blockers));
  if (!gathered.blockers.empty()) return gathered.blockers.as_error();
  return {};
}

// One after the other the tree would wait for a chain of wake-ups, a dozen for each task. After a
// failure the tasks that have begun come to their end, and no more begin.
Result<> ask_tree(FrozenTree& tree, Gathered& gathered, const DumpRequest& request) {
  constexpr size_t kAtOnce = 16;
  Result<> outcome;
  uint64_t done = 0;
  auto ask_one = [&](size_t i) {
    Task& task = tree.tasks()[i];
    done++;
    if (!outcome.ok() || !task.alive()) return;
    Result<> asked = ask(task, &gathered.tasks[i]);
    if (!asked.ok() && outcome.ok())
      outcome = asked.take_error().while_doing(strf("task %d (%s)", task.pid, task.comm.c_str()));
  };
  take_turns(gathered.tasks.size(), kAtOnce, ask_one, [&] {
    report_progress(request, "tasks", done, gathered.tasks.size());
    if (outcome.ok()) outcome = stop_if_cancelled(request);
  });
  return outcome;
}

// Until the restored tree has all of its memory. Before it has any, the tree can still run on here;
// later there would be two of it.
Result<> serve_pages_of(FrozenTree& tree, const MemoryWriter& writer, const DumpRequest& request) {
  ServedPages pages{writer.remote(), writer.store().remote_bytes(), writer.uuid()};
  if (request.callbacks.hook) TRY(request.callbacks.hook({.name = "status-ready"}));
  Result<> served = serve_fetches(request.page_server, &pages, request.callbacks);
  if (served.ok() || pages.fetched == 0) return served;
  TRY(tree.finish(FinalState::kStop));
  return std::move(served).take_error().while_doing(
      "a lazy restore ended before it had all pages; the tree is left stopped here (SIGCONT lets "
      "it "
      "run on, if the restored one is dead)");
}

Result<> check_request(const DumpRequest& request) {
  if (!request.lazy_pages) return {};
  if (request.page_server < 0)
    return Error::usage("lazy pages need a socket at which they can be fetched (page server)");
  if (request.final_state == FinalState::kRun)
    return Error::usage("a tree whose pages are fetched by a lazy restore cannot run on");
  return {};
}

// Those that the image has the content of, or that are to be made anew. The dump is done: whatever
// goes wrong here is no failure of it.
void cut_off_networks(const Gathered& gathered, const NetworkLock& network,
                      const DumpRequest& request) {
  std::vector<uint64_t> inodes;
  for (const schema::Namespace& record : gathered.namespaces.records())
    if (record.content_case() == schema::Namespace::kNet && record.external_key().empty())
      inodes.push_back(record.inode());
  Result<> done = network.cut_off_deserted(inodes);
  if (!done.ok()) request.callbacks.log.warning("%s", done.error().text().c_str());
}

void report_on(const Gathered& gathered, const PhaseClock& clock, const DumpRequest& request,
               DumpReport* report) {
  report->tasks = static_cast<uint32_t>(gathered.tasks.size());
  for (const schema::Task& task : gathered.tasks)
    report->threads += static_cast<uint32_t>(task.threads_size());
  report->total_ns = clock.total_ns();
  report->phases = clock.phases();
  if (request.trace_file.empty()) return;
  // The image is whole and the tree perhaps gone: a trace that cannot be written fails nothing.
  Result<> traced = clock.write_trace(request.trace_file, "nativecr dump");
  if (!traced.ok()) request.callbacks.log.warning("no trace: %s", traced.error().text().c_str());
}

}  // namespace

// Everything between freeze() and finish() is frozen time, the number users feel. Until commit()
// every early return leaves the tree running as if we had never come.
Result<DumpReport> dump(const DumpRequest& request) {
  PhaseClock clock;
  TRY(check_request(request));
  clock.begin("open image");
  sys::make_room_for_descriptors();
  const bool runs_on = request.final_state == FinalState::kRun;
  MemoryWriter writer =
      TRY(MemoryWriter::create(request, TasksMeanwhile::kStandStill, runs_on ? kStagingBytes : 0));
  ImageDir& images = writer.images();
  VmaReader vmas(worker_threads(request.threads));
  schema::Cpu cpu = TRY(describe_this_cpu());
  namespaces::Links own = TRY(namespaces::own_links());
  Gathered gathered(own);
  PageReading pages(writer.store(), gathered.shared_memory, gathered.pages);
  gathered.prepared.begin(request, own);
  rehearse(request.pid);
  gathered.prepared.finish();

  clock.begin("freeze");
  report_progress(request, "freeze", 0, 0);
  FrozenTree tree = TRY(FrozenTree::freeze(request));
  clock.begin("look");
  InnerPids pids;  // as the parent image has them
  if (!request.parent_images.empty()) pids = TRY(InnerPids::read(tree.tasks()));
  pages.begin(tree.tasks().size(), std::move(pids), request.lazy_pages);
  TRY(look_at_tree(tree, vmas, gathered, request,
                   [&pages](schema::Task* record) { pages.offer(record); }));
  TRY(aio_ring::settle(tree.tasks(), &gathered.tasks, request));
  pages.offer_rest();
  // Until here the target was only looked at; a blocker anywhere has refused the whole dump, with
  // all its companions.
  clock.begin("connections");
  gathered.connections.close_if_asked(request);
  NetworkLock network = TRY(gathered.connections.lock(request));
  TRY(gathered.connections.read());
  clock.begin("ask");
  TRY(ask_tree(tree, gathered, request));
  // From here on no task runs our code.
  clock.begin("memory");
  const uint64_t waited = monotonic_ns();
  TRY(pages.finish());
  InnerPids inner;
  if (gathered.namespaces.of(0, schema::Namespace::kPid) != 0)
    inner = TRY(InnerPids::read(tree.tasks()));
  TRY(stop_if_cancelled(request));

  DumpReport report;
  report.memory_ns = monotonic_ns() - waited;
  if (request.final_state != FinalState::kKill) {
    gathered.connections.let_go();
    TRY(network.unlock());
  }
  if (runs_on) {
    // The tree need not wait for the disk: if the image fails now, only the image is lost.
    clock.begin("thaw");
    report.frozen_ns = TRY(tree.finish(FinalState::kRun));
  }
  clock.begin("write");
  gathered.prepared.dismiss();
  report_progress(request, "write", 0, 0);
  const uint64_t begun = monotonic_ns();
  TRY(write_image(writer, gathered, inner));
  schema::Inventory inventory = TRY(describe_image(writer, gathered, request, std::move(cpu)));
  inventory.set_network_lock(network.kept_name());
  clock.begin("commit");
  TRY(images.commit(std::move(inventory)));
  report.write_ns = monotonic_ns() - begun;
  // A caller that has no use for the image after all keeps the tree.
  Undo withdraw([&] { images.withdraw(); });
  if (request.callbacks.hook) TRY(request.callbacks.hook({"post-dump", request.pid, -1}));
  if (request.lazy_pages) {
    clock.begin("serve pages");
    TRY(serve_pages_of(tree, writer, request));
  }
  if (request.final_state == FinalState::kKill)
    TRY(gathered.connections.vanish(tree.tasks(), network));
  withdraw.cancel();
  // ---- Point of no return: the image is durable, the tree may now be killed. ----
  if (!runs_on) {
    clock.begin("finish");
    report.frozen_ns = TRY(tree.finish(request.final_state));
  }
  if (request.final_state == FinalState::kKill) cut_off_networks(gathered, network, request);
  clock.end();

  report_on(gathered, clock, request, &report);
  writer.count(&report);
  return report;
}

Result<std::vector<Blocker>> find_blockers(const DumpRequest& request) {
  VmaReader vmas(worker_threads(request.threads));
  namespaces::Links own = TRY(namespaces::own_links());
  Gathered gathered(std::move(own));
  FrozenTree tree = TRY(FrozenTree::freeze(request));
  Result<> looked = look_at_tree(tree, vmas, gathered, request, [](schema::Task*) {});
  if (!looked.ok() && gathered.blockers.empty()) return looked.take_error();
  TRY(tree.finish(FinalState::kRun));
  return gathered.blockers.list();
}

}  // namespace ncr
