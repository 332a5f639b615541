// The benchmarks' program, alone in a container of runc with all that `runc spec` says.
#pragma once

#include <sys/types.h>

#include <string>

namespace bench {

class RuncContainer {
 public:
  // `dir` shows up as /bench, and has the file `stall`.
  explicit RuncContainer(std::string dir);
  RuncContainer(const RuncContainer&) = delete;
  ~RuncContainer();

  pid_t start();  // -1 if runc did not

 private:
  bool make_bundle() const;

  std::string dir_;
  std::string name_;
};

}  // namespace bench
