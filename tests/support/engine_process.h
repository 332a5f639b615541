// The engine in a process of its own, so that its crash or hang is the failure of one test.
#pragma once

#include <string>

#include "engine/request.h"

namespace ncr::test {

// Empty on success, else what went wrong: the error's text, or how the engine died. `work` runs in
// the child.
std::string in_engine_process(const std::string& scratch, const std::function<Result<>()>& work,
                              int timeout_s);

Result<> engine_dump(const DumpRequest& request);
Result<> engine_predump(const DumpRequest& request);
Result<pid_t> engine_restore(const RestoreRequest& request);  // number of the root

}  // namespace ncr::test
