// File systems that mount namespaces of a tree share, and would not any more.
#pragma once

#include <vector>

#include "engine/resources/mount_namespace/mount_table.h"
#include "namespace.pb.h"

namespace ncr::mount_namespace {

// Whether a copy can be taken of a mount alone, by its path. Pure.
bool can_be_taken(const schema::MountNamespace& table, const schema::Mount& mount);

// A namespace takes what it shares from those that are built before it, and can only take what they
// show (mount_plan.h). `spaces`: in the order they are built; `brings_root`: a restore is given the
// first root. Pure.
struct Split {
  size_t space;  // index
  Refusal refusal;
};
std::vector<Split> find_split_systems(const std::vector<const schema::Namespace*>& spaces,
                                      bool brings_root);

}  // namespace ncr::mount_namespace
