// An image directory being read. open() trusts nothing: header, versions, sizes and checksums of
// every file are checked before a record is handed out.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "cgroup.pb.h"
#include "engine/base/sys.h"
#include "inventory.pb.h"
#include "memory.pb.h"
#include "namespace.pb.h"
#include "open_file.pb.h"
#include "seccomp.pb.h"
#include "task.pb.h"

namespace ncr {

enum class PageCheck {
  kVerify,
  kSkip
};  // whether open() reads all of pages-*.img to check the chunks

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
  Fd pages;  // pages-1.img, read only

  // Malformed: names the file and what is wrong with it.
  static Result<Image> open(const std::string& path, PageCheck pages);
};

// Cross-record consistency: every reference resolves, parents come first, VMAs ascend and do not
// overlap, runs lie inside their VMA and their file ... Pure. Called by open().
Result<> check_consistency(const Image& image);

}  // namespace ncr
