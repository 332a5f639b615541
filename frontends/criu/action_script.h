// --action-script: a command that is run at the moments of a dump or restore, told which by its
// environment: CRTOOLS_SCRIPT_ACTION, CRTOOLS_IMAGE_DIR, CRTOOLS_INIT_PID.
#pragma once

#include <nativecr/nativecr.h>

#include <string>

#include "frontends/criu/status.h"

namespace criu {

Status run_action_script(const std::string& command, const ncr_hook& hook,
                         const std::string& images_dir);

}  // namespace criu
