// The calls that mounts are made of (fsopen(2) and its kin), by descriptor.
#pragma once

#include <string>

#include "engine/base/sys.h"
#include "mount_namespace.pb.h"

namespace ncr::mount_namespace {

// Where nothing is mounted over anything on the way, and no link is followed: `below` the root of a
// mount. "" is that root.
Result<Fd> open_below(const Fd& root, const std::string& below);
// As that, of a catatonic autofs, whose directories RESOLVE_NO_XDEV does not let one enter (seen on
// Linux 6.18).
Result<Fd> open_below_autofs(const Fd& root, const std::string& below);
// A copy of one mount, or of the part of it at `from`; not put in place anywhere. Its children are
// not copied.
Result<Fd> copy_mount(const Fd& from);
Result<Fd> copy_mount_with_children(const Fd& from);
Result<Fd> copy_mount_at(const std::string& path);
Result<> put_in_place(const Fd& mount, const Fd& point);
Result<> set_attributes(const Fd& mount, uint64_t attributes);    // MOUNT_ATTR_*, all of them
Result<> set_propagation(const Fd& mount, uint64_t propagation);  // MS_SHARED ...
Result<> set_propagation_of_all(uint64_t propagation);            // of everything below "/"
// `to` takes mounts from, and gives mounts to, where `from` does.
Result<> join_group(const Fd& from, const Fd& to);
Result<uint32_t> mount_id_of(const Fd& fd);

// A new file system, writable whatever its options say, not put in place anywhere.
Result<Fd> make_file_system(const schema::MountedFileSystem& record);
// Whether fsconfig(2) has no room for one of its options.
bool has_long_options(const schema::MountedFileSystem& record);
// As make_file_system, for those: mounts it upon the working directory.
Result<> mount_here(const schema::MountedFileSystem& record);
// What make_file_system left out.
Result<> finish_file_system(const schema::MountedFileSystem& record, const Fd& mount);

}  // namespace ncr::mount_namespace
