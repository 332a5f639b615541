// What others must know of descriptors of /dev/net/tun (engine).
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "engine/resources/room.h"

namespace ncr::tun {

bool recognises(const FdProbe& probe);

// The network namespace of the link it is attached to; without one, of where it was opened.
Result<Fd> net_namespace_of(const Fd& tun);

// Names of the links of this network namespace that descriptors of the tree keep alive.
Result<std::set<std::string>> links_held_by(const std::vector<Task>& tasks, const Fd& nsfs);

// Pure: fdinfo of such a descriptor; empty: attached to none.
std::string link_in_fdinfo(std::string_view fdinfo);

}  // namespace ncr::tun
