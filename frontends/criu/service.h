// criu service: a socket that anybody may connect to who could do by himself what he asks for.
#pragma once

#include "frontends/criu/engine.h"
#include "frontends/criu/journal.h"
#include "frontends/criu/options.h"
#include "frontends/criu/status.h"

namespace criu {

// Serves for ever, each connection in a process of its own.
Status run_service(const Options& options, Engine& engine, const Journal& journal);

}  // namespace criu
