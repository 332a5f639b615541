// An image directory being read. open() trusts nothing: header, versions, sizes and checksums of
// every file are checked before a record is handed out.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "cgroup.pb.h"
#include "engine/base/sys.h"
#include "engine/image/page_files.h"
#include "engine/memory/run_set.h"
#include "inventory.pb.h"
#include "memory.pb.h"
#include "namespace.pb.h"
#include "open_file.pb.h"
#include "seccomp.pb.h"
#include "task.pb.h"

namespace ncr {

enum class PageCheck {
  kVerify,  // open() reads all of pages-*.img to check the chunks, also of the parents
  kSkip,
  kAbsent,  // and the parents' pages need not be there: another machine has them
};

// Checksums of the pages of one file, 16 bytes each.
struct HashedPages {
  uint64_t seed = 0;
  std::string hashes;
};

// An image that another is incremental to, directly or not.
struct Ancestor {
  std::string name;  // as its child knows it
  Fd dir;
  uint64_t start = 0;             // of its pages in Image::pages
  bool has_new_page_map = false;  // its page map is the one of the temporary name
};

// Everything but page payload, in memory.
struct Image {
  schema::Inventory inventory;
  std::vector<schema::Task> tasks;  // parents before children; tasks[0] is the root
  std::unordered_map<uint32_t, schema::OpenFile> files;  // by id
  std::vector<schema::SharedMemory> shared_memory;
  std::vector<schema::Namespace> namespaces;
  std::vector<schema::CgroupHierarchy> cgroups;
  std::unordered_map<uint32_t, schema::SeccompFilter> seccomp_filters;  // by id
  std::unordered_map<int32_t, schema::PageMap> task_pages;              // by pid
  std::unordered_map<uint64_t, schema::PageMap> shmem_pages;            // by shared memory id
  std::string path;
  PageFiles pages;             // pages-1.img, then that of the parent, of the parent's parent ...
  uint64_t parents_start = 0;  // where the parents' begin in `pages`; 0: not incremental
  uint64_t remote_start = 0;   // where those begin that the dump serves; 0: none
  RunSet dropped;              // of `pages`: given up by dedup
  std::vector<Ancestor> ancestors;  // nearest first
  // open_memory() only: of each file of `pages`, empty if it has none.
  std::vector<HashedPages> page_hashes;

  // Malformed: names the file and what is wrong with it. Runs of an opened image are zero, or
  // stored in `pages`.
  static Result<Image> open(const std::string& path, PageCheck pages);
  // Page maps and pages only. The parent of a dump is opened this way.
  static Result<Image> open_memory(const std::string& path, PageCheck pages);
};

// Cross-record consistency: every reference resolves, parents come first, VMAs ascend and do not
// overlap, runs lie inside their VMA and their file ... Pure. Called by open().
Result<> check_consistency(const Image& image);
// The part of it that holds for the page maps of a pre-dump.
Result<> check_page_maps_alone(const Image& image);

// Restore needs more than memory.
Result<> refuse_memory_only(const Image& image);

}  // namespace ncr
