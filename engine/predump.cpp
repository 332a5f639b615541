// A pre-dump: the memory of a tree that runs on. The tree stands still only while its mappings are
// listed; its pages are read while it writes to them. So an image of it is of no moment in time and
// can never be restored; a later dump compares every page with it (engine/memory/parent_pages.h).
// Runs in the engine, on the caller's thread (the tracer).
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/base/phase_clock.h"
#include "engine/base/undo.h"
#include "engine/memory/shared_memory_table.h"
#include "engine/memory/vma_reader.h"
#include "engine/memory_writer.h"
#include "engine/request.h"
#include "engine/tree/frozen_tree.h"
#include "engine/tree/inner_pids.h"

namespace ncr {
namespace {

// The memory of one task, as it was when the tree stood still.
struct TaskMemory {
  pid_t pid = 0;
  Fd pidfd;
  pid_t inner_pid = 0;  // as the tree itself has it
  schema::Memory memory;
  schema::PageMap pages;
};

struct Seen {
  std::vector<TaskMemory> tasks;
  SharedMemoryTable objects;
  uint32_t threads = 0;
  pid_t root = 0;
};

// Objects that only a descriptor leads to are left to the dump.
Result<> look_at_object(const Task& task, const VmaLine& line, SharedMemoryTable* objects) {
  const std::string name =
      strf("map_files/%llx-%llx", static_cast<unsigned long long>(line.vma.start()),
           static_cast<unsigned long long>(line.vma.end()));
  Fd object = TRY(sys::open_at(task.proc, name.c_str(), O_RDONLY));
  TRY(objects->add(std::move(object), {}));
  return {};
}

Result<TaskMemory> look_at(const Task& task, const std::vector<VmaLine>& lines,
                           SharedMemoryTable* objects) {
  TaskMemory seen;
  seen.pid = task.pid;
  seen.pidfd = TRY(sys::pidfd_open(task.pid));
  for (const VmaLine& line : lines) {
    // What a dump would refuse is no concern of a pre-dump.
    if (!line.unsupported.empty()) continue;
    if (line.vma.kind() == schema::VMA_SHMEM) TRY(look_at_object(task, line, objects));
    *seen.memory.add_vmas() = line.vma;
  }
  return seen;
}

Result<> look_at_tree(const FrozenTree& tree, VmaReader& vmas, Seen* seen) {
  vmas.begin(tree.tasks());
  Undo end_reading([&] { vmas.end(); });
  const InnerPids pids = TRY(InnerPids::read(tree.tasks()));
  seen->root = pids.of(tree.tasks().front().pid);
  for (size_t i = 0; i < tree.tasks().size(); i++) {
    const Task& task = tree.tasks()[i];
    seen->threads += static_cast<uint32_t>(task.threads.size());
    if (!task.alive()) continue;
    const std::vector<VmaLine> lines = TRY(vmas.take(i));
    seen->tasks.push_back(TRY_WHILE(look_at(task, lines, &seen->objects), "task %d (%s)", task.pid,
                                    task.comm.c_str()));
    seen->tasks.back().inner_pid = pids.of(task.pid);
  }
  return {};
}

// A task that is gone meanwhile has no more memory to be dumped; nor has one that nobody has
// collected yet, whose pagemap opens no more (ESRCH).
Result<> read_pages(Seen& seen, PageStore& store) {
  for (TaskMemory& task : seen.tasks) {
    Result<> added = store.add_task({task.pid, task.inner_pid}, &task.memory, &task.pages);
    task.pages.set_pid(task.inner_pid);
    if (!added.ok() && added.error().os_error() != ESRCH &&
        SYSCALL(::syscall(SYS_pidfd_send_signal, task.pidfd.get(), 0, nullptr, 0),
                "pidfd_send_signal")
            .ok())
      return std::move(added).take_error().while_doing(strf("memory of task %d", task.pid));
  }
  TRY(seen.objects.store_pages(store));
  return store.read_all();
}

Result<> write_page_maps(ImageDir& images, const Seen& seen, const schema::ChunkTable& chunks) {
  std::vector<const google::protobuf::MessageLite*> maps = {&chunks};
  for (const TaskMemory& task : seen.tasks) maps.push_back(&task.pages);
  for (const google::protobuf::MessageLite* map : seen.objects.page_maps()) maps.push_back(map);
  return images.write_records(kPagemapFile, maps);
}

}  // namespace

Result<DumpReport> predump(const DumpRequest& given) {
  PhaseClock clock;
  clock.begin("open image");
  sys::make_room_for_descriptors();
  DumpRequest request = given;
  request.track_memory = true;
  request.lazy_pages = false;
  MemoryWriter writer = TRY(MemoryWriter::create(request, TasksMeanwhile::kRun, 0));
  VmaReader vmas(worker_threads(request.threads));
  Seen seen;
  DumpReport report;

  clock.begin("freeze");
  FrozenTree tree = TRY(FrozenTree::freeze(request));
  clock.begin("look");
  TRY(look_at_tree(tree, vmas, &seen));
  clock.begin("thaw");
  report.tasks = static_cast<uint32_t>(tree.tasks().size());
  report.frozen_ns = TRY(tree.finish(FinalState::kRun));
  // The tree runs. From here on its memory changes as it is read.
  clock.begin("memory");
  const uint64_t begun = monotonic_ns();
  TRY(read_pages(seen, writer.store()));
  report.memory_ns = monotonic_ns() - begun;
  clock.begin("write");
  const schema::ChunkTable chunks = TRY(writer.finish());
  TRY(write_page_maps(writer.images(), seen, chunks));
  schema::Inventory inventory = TRY(writer.describe(seen.root));
  inventory.set_memory_only(true);
  clock.begin("commit");
  TRY(writer.images().commit(std::move(inventory)));
  clock.end();
  report.write_ns = monotonic_ns() - begun - report.memory_ns;
  report.threads = seen.threads;
  writer.count(&report);
  report.total_ns = clock.total_ns();
  report.phases = clock.phases();
  if (!request.trace_file.empty()) {
    Result<> traced = clock.write_trace(request.trace_file, "nativecr pre-dump");
    if (!traced.ok()) request.callbacks.log.warning("no trace: %s", traced.error().text().c_str());
  }
  return report;
}

}  // namespace ncr
