// Configuration files: /etc/criu/default.conf, $HOME/.criu/default.conf, $CRIU_CONFIG_FILE, those
// that are named by --config and by RPC. Each sets options as if they stood on the command line.
#pragma once

#include <string>
#include <vector>

#include "frontends/criu/options.h"
#include "frontends/criu/status.h"

namespace criu {

// One option a line, without dashes; "name value", "name=value" or "name"; double quotes keep what
// is between them together; # begins a comment. As the arguments of a command line. Pure.
Status parse_config(const std::string& text, std::vector<std::string>* arguments);

enum class IfMissing { kIgnore, kFail };
Status apply_config_file(const std::string& path, IfMissing if_missing, Options& options);
// The files that are read unless --no-default-config is given, in their order.
Status apply_default_config(bool fixed_places, Options& options);

}  // namespace criu
