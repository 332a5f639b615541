// The criu command: what `nativecr` is when it is called as `criu`.
#pragma once

#include <string>
#include <vector>

#include "frontends/criu/engine.h"

namespace criu {

// Returns the exit status: 0 done, 1 not.
int run_command(std::vector<std::string> arguments, Engine& engine);

}  // namespace criu
