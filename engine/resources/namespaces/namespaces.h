// Whether a task lives where the engine does.
#pragma once

#include <string>

namespace ncr::namespaces {

// Two links of /proc/PID/ns, "net:[4026531840]"; empty if the kernel has none. Pure.
bool differs(const std::string& own, const std::string& theirs);

}  // namespace ncr::namespaces
