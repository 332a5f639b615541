// The root of a cgroup mount is a path of the hierarchy, told from the reader's cgroup namespace on
// (cgroup_namespaces(7)); the engine reads it from its own. A hierarchy of v1 is known by the
// controllers among the options of its file system, that of v2 by its type. Runs in the root task;
// pure.
#include "engine/resources/mount_namespace/cgroup_mounts.h"

#include "engine/resources/mount_namespace/mountinfo.h"

namespace ncr::mount_namespace {
namespace {

bool has_option(const std::string& options, std::string_view option) {
  return ("," + options + ",").find("," + std::string(option) + ",") != std::string::npos;
}

bool is_hierarchy(const schema::MountedFileSystem& file_system, std::string_view controllers) {
  if (controllers.empty()) return file_system.type() == "cgroup2";
  if (file_system.type() != "cgroup") return false;
  while (!controllers.empty()) {
    const size_t end = controllers.find(',');
    if (!has_option(file_system.options(), controllers.substr(0, end))) return false;
    controllers.remove_prefix(end == std::string_view::npos ? controllers.size() : end + 1);
  }
  return true;
}

bool shows_no_more(const schema::MountNamespace& table, uint32_t file_system,
                   const std::string& root) {
  for (const schema::Mount& mount : table.mounts())
    if (mount.file_system() == file_system && !is_below(mount.root(), root)) return false;
  return true;
}

}  // namespace

void see_from(const schema::CgroupNamespace& space, schema::MountNamespace* table) {
  for (schema::MountedFileSystem& file_system : *table->mutable_file_systems())
    for (const schema::CgroupNamespaceRoot& root : space.roots()) {
      if (root.path() == "/" || !is_hierarchy(file_system, root.controllers()) ||
          !shows_no_more(*table, file_system.id(), root.path()))
        continue;
      file_system.set_origin(schema::MountedFileSystem::MADE);
      for (schema::Mount& mount : *table->mutable_mounts()) {
        std::string below;
        if (mount.file_system() == file_system.id() && is_below(mount.root(), root.path(), &below))
          mount.set_root("/" + below);
      }
      break;
    }
}

}  // namespace ncr::mount_namespace
