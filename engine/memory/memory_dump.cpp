// The address space of a frozen task, seen from outside: /proc/PID/smaps for the VMAs and their
// flags, /proc/PID/map_files for the objects behind them (needs CAP_CHECKPOINT_RESTORE or
// CAP_SYS_ADMIN). Runs in the engine; nothing in the target is touched. Which pages exist is
// page_store's matter.
#include "engine/memory/memory_dump.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "engine/base/deleted_mark.h"
#include "engine/memory/vma_table.h"
#include "engine/tree/mount_view.h"

#include "engine/resources/packet_socket/ring_mapping.h"
#include "engine/resources/sysv_shm/sysv_shm.h"

namespace ncr {
namespace {

std::string map_files_name(const VmaLine& line) {
  return strf("map_files/%llx-%llx", static_cast<unsigned long long>(line.vma.start()),
              static_cast<unsigned long long>(line.vma.end()));
}

constexpr char kHidden[] =
    "what is behind it cannot be seen without CAP_CHECKPOINT_RESTORE or CAP_SYS_ADMIN";

// Where a line has the file of an overlay's layer, the text of the kernel has the overlay's.
Result<VmaLine> as_maps_tell(const Task& task, const VmaLine& line) {
  const std::string maps = TRY(sys::read_file_at(task.proc, "maps"));
  for (VmaLine& told : TRY(parse_smaps(maps)))
    if (told.vma.start() == line.vma.start()) return std::move(told);
  return Error::gone("it is not there any more");
}

// For who may not use map_files: the file that has the name now, if it is the same.
Result<Fd> open_by_name(const Task& task, const VmaLine& known) {
  const VmaLine line = known.perhaps_of_a_layer ? TRY(as_maps_tell(task, known)) : known;
  if (line.deleted || line.path.empty() || line.path[0] != '/') return Error::unsupported(kHidden);
  MountView view = TRY(MountView::of(task));
  Fd file = TRY(view.open(line.path, O_PATH));
  struct stat status {};
  TRY(SYSCALL(::fstat(file.get(), &status), "stat %s", line.path.c_str()));
  if (status.st_ino != line.inode || status.st_dev != line.device)
    return Error::unsupported(kHidden);
  return file;
}

Result<Fd> open_mapped(const Task& task, const VmaLine& line, int flags) {
  Result<Fd> file = sys::open_at(task.proc, map_files_name(line).c_str(), flags);
  if (file.ok() || file.error().os_error() != EPERM) return file;
  if (flags != O_PATH) return Error::unsupported(kHidden);
  return open_by_name(task, line);
}

struct PrintedPath {
  std::string path;
  bool deleted;
};

PrintedPath printed_path(std::string link) {
  const bool deleted = drop_deleted_mark(&link);
  return {std::move(link), deleted};
}

Result<PrintedPath> name_of_mapped(const Task& task, const VmaLine& line) {
  if (!line.perhaps_of_a_layer) return PrintedPath{line.path, line.deleted};
  return printed_path(TRY(sys::read_link_at(task.proc, map_files_name(line).c_str())));
}

}  // namespace

Result<> MemoryDump::look(const Task& task, const std::vector<VmaLine>& lines, schema::Task* record,
                          Blockers& blockers) {
  schema::Memory* memory = record->mutable_memory();
  for (const VmaLine& line : lines) {
    if (!line.unsupported.empty()) {
      blockers.add(task,
                   strf("mapping %s (%s)", map_files_name(line).c_str() + 10, line.path.c_str()),
                   line.unsupported + " is not restored by this version");
      continue;
    }
    schema::Vma* vma = memory->add_vmas();
    *vma = line.vma;
    TRY_WHILE(add_backing(task, line, vma, blockers), "mapping %s (%s)",
              map_files_name(line).c_str() + 10, line.path.c_str());
  }
  Fd exe = TRY(sys::open_at(task.proc, "exe", O_PATH));
  const PrintedPath name = printed_path(TRY(sys::read_link_at(task.proc, "exe")));
  memory->set_exe_file_id(
      TRY(files_.add_mapped(std::move(exe), name.path, name.deleted, O_RDONLY)));
  return {};
}

Result<> MemoryDump::add_backing(const Task& task, const VmaLine& line, schema::Vma* vma,
                                 Blockers& blockers) {
  switch (line.vma.kind()) {
    case schema::VMA_FILE_PRIVATE:
    case schema::VMA_FILE_SHARED:
      vma->set_file_id(packet_socket::is_mapping(line)
                           ? TRY(packet_socket::look(task, line, files_, blockers))
                           : TRY(mapped_file(task, line)));
      return {};
    case schema::VMA_SHMEM:
      vma->set_shmem_id(TRY(shared_object(task, line)));
      return {};
    case schema::VMA_SYSV:
      return sysv_shm::look(task, line, shared_, blockers, vma);
    default:
      return {};
  }
}

Result<uint32_t> MemoryDump::mapped_file(const Task& task, const VmaLine& line) {
  // A shared mapping that may ever be made writable needs a writable file behind it.
  bool writable = line.vma.kind() == schema::VMA_FILE_SHARED && line.may_write;
  uint32_t mode = writable ? O_RDWR : O_RDONLY;
  auto [known, is_new] = known_files_.try_emplace({line.device, line.inode, mode}, 0);
  if (is_new) {
    Fd file = TRY(open_mapped(task, line, O_PATH));
    const PrintedPath name = TRY(name_of_mapped(task, line));
    known->second = TRY(files_.add_mapped(std::move(file), name.path, name.deleted, mode));
  }
  return known->second;
}

Result<uint64_t> MemoryDump::shared_object(const Task& task, const VmaLine& line) {
  auto [known, is_new] = known_objects_.try_emplace({line.device, line.inode}, 0);
  if (is_new) {
    Fd object = TRY(open_mapped(task, line, O_RDONLY));
    schema::SharedMemory description;
    constexpr std::string_view kMemfd = "/memfd:";
    if (line.path.starts_with(kMemfd)) {
      description.set_memfd(true);
      description.set_name(line.path.substr(kMemfd.size()));
    }
    known->second = TRY(shared_.add(std::move(object), description));
  }
  return known->second;
}

}  // namespace ncr
