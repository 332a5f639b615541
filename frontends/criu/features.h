// criu check --feature NAME: what this kernel has, asked of the kernel itself, and what the engine
// makes of it.
#pragma once

#include <string>
#include <vector>

#include "frontends/criu/engine.h"

namespace criu {

bool is_feature(const std::string& name);
bool has_feature(const std::string& name, Engine& engine);
std::vector<std::string> feature_names();

}  // namespace criu
