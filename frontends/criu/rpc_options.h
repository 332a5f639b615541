// criu_opts as Options. What is not understood is refused by its number.
#pragma once

#include "frontends/criu/options.h"
#include "frontends/criu/status.h"
#include "rpc.pb.h"

namespace criu {

// Everything but the directories, whose descriptors are the client's.
Status apply_rpc_options(const rpc::criu_opts& opts, Options& options);

}  // namespace criu
