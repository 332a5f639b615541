// Every option of criu(8) and what becomes of it: the one table behind the command line,
// configuration files and RPC.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "frontends/criu/options.h"
#include "frontends/criu/status.h"

namespace criu {

enum class Takes { kFlag, kValue, kOptional };
enum class Policy {
  kHonoured,
  kHarmless,  // asks for what the engine always does, or needs nothing for: the note says which
  kRefused    // by name, with the note as reason
};

struct Option {
  const char* name;
  char letter;  // 0: long only
  Takes takes;
  Policy policy;
  const char* rpc;   // its field of criu_opts, "" if there is none
  const char* note;  // why it is harmless or refused
  Status (*set)(Options& options, const std::string& value);  // null unless honoured
};

std::span<const Option> option_table();

// Sets one option by its long name. A flag's value is "1" or "0".
Status set_option(Options& options, const std::string& name, const std::string& value);

// The options of a command line (or of a configuration file) into `options`; what is none of them
// into `words`.
Status parse_arguments(std::vector<std::string> arguments, Options& options,
                       std::vector<std::string>* words);

}  // namespace criu
