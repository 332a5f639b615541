// A program of the system that is run for what only it knows. It works in the namespaces of the
// calling thread.
#pragma once

#include <string>
#include <vector>

#include "engine/base/sys.h"

namespace ncr::net_namespace {

// What it prints. kUnsupported: it is not installed. kSystem: it failed, with what it said.
Result<std::string> run_helper(const std::vector<std::string>& command, const std::string& input);

}  // namespace ncr::net_namespace
