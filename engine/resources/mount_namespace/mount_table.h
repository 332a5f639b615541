// From two tables of mounts, the tree's and the engine's, to the record of a mount namespace. Pure.
#pragma once

#include <string>
#include <vector>

#include "engine/request.h"
#include "engine/resources/mount_namespace/mountinfo.h"
#include "mount_namespace.pb.h"
#include "user_namespace.pb.h"

namespace ncr::mount_namespace {

// What cannot be restored, and what helps.
struct Refusal {
  std::string object;
  std::string reason;
  std::string way_out;
};

// What a restore gets from outside is named as the root of the tree sees it.
struct Given {
  const MountLine* root = nullptr;                // DumpRequest.root becomes this one; null: none
  const std::vector<MountLine>* table = nullptr;  // with the mounts that are external; null: this
};

// `own`: the engine's. Without the content of file systems in memory.
Result<schema::MountNamespace> describe_table(const std::vector<MountLine>& lines,
                                              const std::vector<MountLine>& own,
                                              const DumpRequest& request, const Given& given,
                                              std::vector<Refusal>* refusals);

// Options of a file system that name owners, as the user namespace of whoever mounts it numbers
// them: the kernel prints them as the engine's does. What is not mapped is left out.
void number_owners(const schema::UserNamespace& space, schema::MountedFileSystem* file_system);

constexpr const char* kNsfs = "nsfs";  // a mount of it shows a namespace
// Whether whoever has the table `own` has the namespace of `line` mounted too.
bool is_callers_namespace(const std::vector<MountLine>& own, const MountLine& line);

// Made again from its type and options alone: shows the kernel's own objects, keeps nothing itself.
bool is_view_of_kernel(const std::string& type);
bool is_in_memory(const std::string& type);  // tmpfs: its files are in the image

}  // namespace ncr::mount_namespace
