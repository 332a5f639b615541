// Whether a task lives where the engine does.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "engine/resources/blockers.h"
#include "engine/tree/frozen_tree.h"

namespace ncr::namespaces {

// By name of the link in /proc/PID/ns, without those that the kernel does not have.
using Links = std::map<std::string, std::string>;
Result<Links> own_links();

// Dump, before anything is touched: names every namespace of a task that is not the engine's own.
Result<> preflight_tree(const std::vector<Task>& tasks, const Links& own, Blockers& blockers);

// Two links of /proc/PID/ns, "net:[4026531840]"; empty if the kernel has none. Pure.
bool differs(const std::string& own, const std::string& theirs);

}  // namespace ncr::namespaces
