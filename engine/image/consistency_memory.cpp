// Are address spaces, shared memory objects and page maps sound, and do they fit together. Pure.
#include <sys/mman.h>

#include <algorithm>
#include <unordered_set>

#include "engine/image/consistency.h"
#include "engine/image/image_dir.h"
#include "engine/memory/huge_pages.h"

namespace ncr::consistency {
namespace {

constexpr uint64_t kMostFile = uint64_t{1} << 62;  // bytes of a file or object
constexpr size_t kMostAuxv = 4096;
constexpr size_t kMostVdso = 1 << 20;

// Advice is handed to madvise(2), some of which is an attack (MADV_HWPOISON).
constexpr uint32_t kAdvice[] = {MADV_RANDOM,   MADV_SEQUENTIAL, MADV_DONTFORK, MADV_MERGEABLE,
                                MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_DONTDUMP, MADV_WIPEONFORK};

bool is_aligned(uint64_t value) { return value % kPageSize == 0; }

bool has_private_pages(const schema::Vma& vma) {
  return vma.kind() == schema::VMA_ANONYMOUS || vma.kind() == schema::VMA_FILE_PRIVATE;
}

const char* wrong_backing(const schema::Vma& vma, const Image& image,
                          const std::unordered_set<uint64_t>& objects) {
  bool file = vma.kind() == schema::VMA_FILE_PRIVATE || vma.kind() == schema::VMA_FILE_SHARED;
  if (vma.file_id() != 0 ? image.files.count(vma.file_id()) == 0 : file) {
    return "its file is not in the image";
  }
  bool object = vma.kind() == schema::VMA_SHMEM;
  if (vma.shmem_id() != 0 ? objects.count(vma.shmem_id()) == 0 : object) {
    return "its shared memory is not in the image";
  }
  uint64_t size = vma.end() - vma.start();
  if (!is_aligned(vma.file_offset()) || vma.file_offset() > kMostFile - size) {
    return "its offset is not possible";
  }
  return nullptr;
}

bool has_whole_pages(const schema::Vma& vma) {
  const uint32_t shift = vma.huge_page_shift();
  if (shift == 0) return true;
  return shift <= kMostHugePageShift && in_whole_pages(vma.start(), shift) == vma.start() &&
         in_whole_pages(vma.end(), shift) == vma.end();
}

const char* wrong_flags(const schema::Vma& vma) {
  if (!schema::VmaKind_IsValid(vma.kind())) return "of an unknown kind";
  if (vma.prot() > (PROT_READ | PROT_WRITE | PROT_EXEC)) return "its protection is not possible";
  if (vma.lock() > 2) return "its lock is not possible";
  if (!has_whole_pages(vma)) return "it does not consist of whole huge pages";
  if (!is_name(vma.name(), 79)) return "its name is not possible";
  for (uint32_t advice : vma.advice()) {
    if (std::find(std::begin(kAdvice), std::end(kAdvice), advice) == std::end(kAdvice)) {
      return "its advice is not possible";
    }
  }
  uint64_t before = vma.start();
  for (const schema::GuardRange& guard : vma.guards()) {
    if (!is_aligned(guard.start()) || !is_aligned(guard.end()) || guard.start() < before ||
        guard.start() >= guard.end() || guard.end() > vma.end()) {
      return "its guard pages are not possible";
    }
    before = guard.end();
  }
  return nullptr;
}

std::unordered_set<uint64_t> shared_memory_ids(const Image& image) {
  std::unordered_set<uint64_t> ids;
  for (const schema::SharedMemory& object : image.shared_memory) ids.insert(object.id());
  return ids;
}

Result<> check_vmas(const schema::Task& task, const Image& image) {
  std::unordered_set<uint64_t> objects = shared_memory_ids(image);
  uint64_t before = 0;
  for (const schema::Vma& vma : task.memory().vmas()) {
    const char* wrong = nullptr;
    bool kernels = vma.kind() == schema::VMA_VSYSCALL;  // above user space, and never made
    if (!is_aligned(vma.start()) || !is_aligned(vma.end()) || vma.start() >= vma.end() ||
        (vma.end() > kUserEnd && !kernels)) {
      wrong = "its addresses are not possible";
    } else if (vma.start() < before) {
      wrong = "it overlaps the one before, or does not come behind it";
    } else {
      wrong = wrong_flags(vma);
      if (wrong == nullptr) wrong = wrong_backing(vma, image, objects);
    }
    if (wrong != nullptr) {
      return bad(kTasksFile, name_of(task), "mapping %llx-%llx: %s",
                 static_cast<unsigned long long>(vma.start()),
                 static_cast<unsigned long long>(vma.end()), wrong);
    }
    before = vma.end();
  }
  return {};
}

Result<> check_layout(const schema::Task& task, const Image& image) {
  const schema::Memory& memory = task.memory();
  for (uint64_t address :
       {memory.start_code(), memory.end_code(), memory.start_data(), memory.end_data(),
        memory.start_brk(), memory.brk(), memory.start_stack(), memory.arg_start(),
        memory.arg_end(), memory.env_start(), memory.env_end()}) {
    if (address > kUserEnd) {
      return bad(kTasksFile, name_of(task), "address %llx lies outside of the address space",
                 static_cast<unsigned long long>(address));
    }
  }
  if (memory.brk() < memory.start_brk()) return bad(kTasksFile, name_of(task), "its heap");
  if (memory.auxv().size() > kMostAuxv || memory.auxv().size() % 16 != 0) {
    return bad(kTasksFile, name_of(task), "an auxiliary vector of %zu bytes", memory.auxv().size());
  }
  if (memory.exe_file_id() != 0 && image.files.count(memory.exe_file_id()) == 0) {
    return bad(kTasksFile, name_of(task), "its executable is not in the image");
  }
  const schema::Vdso& vdso = task.vdso();
  if (!is_aligned(vdso.address()) || !is_aligned(vdso.size()) || vdso.size() > kMostVdso ||
      !is_aligned(vdso.vvar_address()) || !is_aligned(vdso.vvar_size()) ||
      vdso.vvar_size() > kMostVdso || vdso.address() > kUserEnd - kMostVdso ||
      vdso.vvar_address() > kUserEnd - kMostVdso || vdso.image().size() > kMostVdso) {
    return bad(kTasksFile, name_of(task), "its vDSO is not possible");
  }
  return {};
}

class PageMaps {
 public:
  explicit PageMaps(const Image& image) : image_(image) {
    for (const schema::FileEntry& entry : image.inventory.files()) {
      if (entry.name() == kPagesFile) stored_bytes_ = entry.size();
    }
  }

  Result<> check_tasks() {
    size_t found = 0;
    for (const schema::Task& task : image_.tasks) {
      auto map = image_.task_pages.find(task.pid());
      bool own = task.state() != schema::TASK_ZOMBIE && task.memory().shared_with() == 0;
      if (map == image_.task_pages.end()) {
        if (!own) continue;
        return bad(kPagemapFile, name_of(task), "no page map");
      }
      found++;
      RunSet room;
      for (const schema::Vma& vma : task.memory().vmas()) {
        if (has_private_pages(vma)) append(&room, vma.start(), vma.end());
      }
      TRY(check_runs(map->second, &room, name_of(task)));
    }
    if (found == image_.task_pages.size()) return {};
    return bad(kPagemapFile, "a page map", "its task is not in the image");
  }

  Result<> check_objects() {
    size_t found = 0;
    for (const schema::SharedMemory& object : image_.shared_memory) {
      auto map = image_.shmem_pages.find(object.id());
      if (map == image_.shmem_pages.end()) continue;
      found++;
      RunSet room;
      append(&room, 0, page_ceil(object.size()));
      TRY(check_runs(map->second, &room, name_of_object(object.id())));
    }
    if (found == image_.shmem_pages.size()) return {};
    return bad(kPagemapFile, "a page map", "its shared memory is not in the image");
  }

  // Whatever memory they are of.
  Result<> check_all() {
    for (const auto& [pid, map] : image_.task_pages)
      TRY(check_runs(map, nullptr, strf("process %d", pid)));
    for (const auto& [id, map] : image_.shmem_pages)
      TRY(check_runs(map, nullptr, name_of_object(id)));
    return {};
  }

 private:
  static std::string name_of_object(uint64_t id) {
    return strf("shared memory %llu", static_cast<unsigned long long>(id));
  }

  Result<> check_runs(const schema::PageMap& map, const RunSet* room, const std::string& whose) {
    uint64_t before = 0;
    for (const schema::PageRun& run : map.runs()) {
      const char* wrong = wrong_run(run, room, before);
      if (wrong != nullptr) {
        return bad(kPagemapFile, whose, "%llu pages at %llx: %s",
                   static_cast<unsigned long long>(run.pages()),
                   static_cast<unsigned long long>(run.start()), wrong);
      }
      before = run.start() + run.pages() * kPageSize;
    }
    return {};
  }

  const char* wrong_run(const schema::PageRun& run, const RunSet* room, uint64_t before) const {
    if (!is_aligned(run.start()) || run.pages() == 0 || run.start() > kMostFile ||
        run.pages() > kMostFile / kPageSize) {
      return "not possible";
    }
    if (run.start() < before) return "they overlap others, or do not come behind them";
    if (room != nullptr && !contains(*room, {run.start(), run.pages()}))
      return "they lie outside of its memory";
    return wrong_place(run);
  }

  const char* wrong_place(const schema::PageRun& run) const {
    switch (run.place_case()) {
      case schema::PageRun::kZero:
        return run.zero() ? nullptr : "nowhere";
      case schema::PageRun::kStored:
        if (!is_inside(run.stored(), run.pages(), stored_bytes_))
          return "they lie outside of pages-1.img";
        return wrong_if_dropped(run.stored(), run.pages());
      case schema::PageRun::kInParent:
        if (image_.parents_start == 0) return "they lie in a parent image, and there is none";
        if (!is_inside(run.in_parent(), run.pages(), kMostFile) ||
            !image_.pages.contains(image_.parents_start + run.in_parent(), run.pages() * kPageSize))
          return "they lie outside of the parent images";
        return wrong_if_dropped(image_.parents_start + run.in_parent(), run.pages());
      case schema::PageRun::kRemote:
        return is_inside(run.remote(), run.pages(), image_.inventory.remote_pages())
                   ? nullptr
                   : "they lie outside of what the dump serves";
      case schema::PageRun::PLACE_NOT_SET:
        return "nowhere";
    }
    return "nowhere";
  }

  static bool is_inside(uint64_t offset, uint64_t pages, uint64_t size) {
    const uint64_t bytes = pages * kPageSize;
    return is_aligned(offset) && bytes <= size && offset <= size - bytes;
  }

  // Who reads page maps alone does not restore.
  const char* wrong_if_dropped(uint64_t offset, uint64_t pages) const {
    if (image_.dropped.empty() || image_.tasks.empty()) return nullptr;
    const bool lost = !intersection(image_.dropped, {{offset, pages}}).empty();
    return lost ? "they were given up to a later image (dedup): use that one" : nullptr;
  }

  const Image& image_;
  uint64_t stored_bytes_ = 0;
};

}  // namespace

Result<> check_memory(const schema::Task& task, const Image& image) {
  TRY(check_vmas(task, image));
  return check_layout(task, image);
}

Result<> check_shared_memory(const Image& image) {
  std::unordered_set<uint64_t> ids;
  for (const schema::SharedMemory& object : image.shared_memory) {
    bool sound = object.id() != 0 && ids.insert(object.id()).second && object.size() <= kMostFile &&
                 object.huge_page_shift() <= kMostHugePageShift && is_name(object.name(), 255);
    if (!sound) {
      return bad(kSharedMemoryFile,
                 strf("shared memory %llu", static_cast<unsigned long long>(object.id())),
                 "not possible, or there twice");
    }
  }
  return {};
}

Result<> check_page_maps(const Image& image) {
  PageMaps maps(image);
  TRY(maps.check_tasks());
  return maps.check_objects();
}

}  // namespace ncr::consistency

namespace ncr {

Result<> check_page_maps_alone(const Image& image) {
  return consistency::PageMaps(image).check_all();
}

}  // namespace ncr
