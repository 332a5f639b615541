// Runs in the engine, on a process that is not stopped: every failure only means less rehearsed.
#include "engine/rehearsal.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "engine/base/sys.h"
#include "engine/memory/memory_dump.h"
#include "engine/memory/vma_table.h"
#include "engine/resources/namespaces/namespaces.h"

namespace ncr {
namespace {

// The first mappings of a process, as many as a small one has.
std::string some_mappings(const Task& task) {
  constexpr size_t kMost = 64 << 10;
  std::string text(kMost, 0);
  size_t size = 0;
  Result<Fd> smaps = sys::open_at(task.proc, "smaps", O_RDONLY);
  while (smaps.ok() && size < kMost) {
    Result<ssize_t> got =
        SYSCALL(::read(smaps.value().get(), text.data() + size, kMost - size), "read smaps");
    if (!got.ok() || got.value() == 0) break;
    size += static_cast<size_t>(got.value());
  }
  text.resize(size);
  const size_t last = text.rfind("\nVmFlags:");
  text.resize(last == std::string::npos ? 0 : std::min(text.find('\n', last + 1) + 1, size));
  return text;
}

}  // namespace

void rehearse(pid_t root) {
  constexpr int kMostFiles = 64;
  constexpr uint64_t kMostPages = (64 << 20) / kPageSize;  // smaps walks over all of them
  Task task;
  Result<Fd> proc = sys::open(strf("/proc/%d", root).c_str(), O_PATH | O_DIRECTORY);
  if (!proc.ok()) return;
  task.pid = root;
  task.proc = proc.take();
  unsigned long long resident = 0;
  Result<std::string> statm = sys::read_file_at(task.proc, "statm");
  if (!statm.ok() || std::sscanf(statm.value().c_str(), "%*u %llu", &resident) != 1) return;
  if (resident > kMostPages) return;
  FileTable files;
  SharedMemoryTable shared_memory;
  files.store_content_in(shared_memory);
  MemoryDump memory(files, shared_memory);
  Blockers blockers;
  schema::Task record;
  Result<std::vector<VmaLine>> lines = parse_smaps(some_mappings(task));
  if (lines.ok()) {
    std::erase_if(lines.value(), [](const VmaLine& line) {
      return line.deleted || line.vma.kind() != schema::VMA_FILE_PRIVATE;
    });
    (void)memory.look(task, lines.value(), &record, blockers);
  }
  for (const char* name : {"stat", "status", "timers", "oom_score_adj", "coredump_filter"})
    (void)sys::read_file_at(task.proc, name);
  for (int number = 0; number < kMostFiles; number++) {
    if (!sys::read_file_at(task.proc, strf("fdinfo/%d", number).c_str()).ok()) break;
    (void)sys::read_link_at(task.proc, strf("fd/%d", number).c_str());
  }
  (void)namespaces::links_of(task);
}

}  // namespace ncr
