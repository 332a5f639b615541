// Runs a command and takes the time from spawn to exit, as a user would.
#pragma once

#include <string>
#include <vector>

namespace bench {

struct Finished {
  int status = 0;      // as waitpid reports it
  double seconds = 0;  // wall
  std::string output;  // stdout
};

Finished run_command(const std::vector<std::string>& argv);

}  // namespace bench
