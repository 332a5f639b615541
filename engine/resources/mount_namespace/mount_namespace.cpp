// Mount namespace (struct mnt_namespace): the tree of mounts that paths are looked up in.
#include <sched.h>

#include "engine/resources/room.h"

namespace ncr::mount_namespace {

extern const NamespaceRoom kRoom = {
    .name = "mnt", .kind = schema::Namespace::kMnt, .clone_flag = CLONE_NEWNS};

}  // namespace ncr::mount_namespace
